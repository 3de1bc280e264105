import ApusProtocol
import Crypto
import Foundation
import Hummingbird

/// A service that may get tokens by the client-credentials grant.
public struct OAuthClient: Sendable {
    public static let secretBytesMin = 16

    public let id: String
    public let scopes: [String]
    fileprivate let secretDigest: SHA256Digest

    /// - Throws: ``ApusError`` `invalid_argument` for an id that is empty or not printable ASCII, or a secret that is too short.
    public init(id: String, secret: String, scopes: [String]) throws {
        guard !id.isEmpty, id != OAuthClients.firstParty, id.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: ":") })
        else {
            throw ApusError(.invalidArgument, "the id of an OAuth client is printable ASCII without spaces and colons")
        }
        guard secret.utf8.count >= Self.secretBytesMin else {
            throw ApusError(.invalidArgument, "the secret of OAuth client \(id) has fewer than \(Self.secretBytesMin) bytes")
        }
        self.id = id
        self.scopes = scopes
        secretDigest = SHA256.hash(data: Data(secret.utf8))
    }

    /// In the same time whatever is wrong: digests are compared, and they are compared in constant time.
    fileprivate func accepts(_ secret: String) -> Bool { SHA256.hash(data: Data(secret.utf8)) == secretDigest }
}

/// Who calls the token endpoint (RFC 6749 section 2.3).
struct OAuthClients: Sendable {
    /// Apus's own apps: a public client. It may also stay unnamed.
    static let firstParty = "apus"

    enum Caller: Sendable {
        case firstParty
        case service(OAuthClient)
    }

    private let clients: [String: OAuthClient]

    init(_ clients: [OAuthClient]) {
        self.clients = Dictionary(clients.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// - Throws: ``OAuthError`` `invalid_client`, `invalid_request`.
    func caller(authorization: String?, form: FormParameters) throws -> Caller {
        if let authorization {
            guard form["client_secret"] == nil else { throw OAuthError.invalidRequest("the client authenticates in two ways") }
            guard let candidates = Self.basicCredentials(authorization) else { throw OAuthError.invalidClient }
            for (id, secret) in candidates {
                if let client = clients[id], client.accepts(secret) { return .service(client) }
                if id == Self.firstParty, secret.isEmpty { return .firstParty }
            }
            throw OAuthError.invalidClient
        }
        guard let id = form["client_id"], id != Self.firstParty else {
            guard form["client_secret"] == nil else { throw OAuthError.invalidClient }
            return .firstParty
        }
        guard let client = clients[id], let secret = form["client_secret"], client.accepts(secret) else { throw OAuthError.invalidClient }
        return .service(client)
    }

    /// Both readings of HTTP Basic: form-encoded as RFC 6749 wants it, and raw as many clients send it.
    private static func basicCredentials(_ header: String) -> [(id: String, secret: String)]? {
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic", let data = Data(base64Encoded: String(parts[1])),
            let text = String(validating: data, as: UTF8.self), let colon = text.firstIndex(of: ":")
        else { return nil }
        let raw = (id: String(text[..<colon]), secret: String(text[text.index(after: colon)...]))
        guard let id = FormParameters.decoded(raw.id), let secret = FormParameters.decoded(raw.secret) else { return [raw] }
        return [(id, secret), raw]
    }
}
