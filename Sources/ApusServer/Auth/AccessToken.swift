import ApusCore
import ApusProtocol
import Crypto
import Foundation
import JWTKit

/// What a token may be used for.
public enum Scope {
    /// A person's device: everything the API offers people.
    public static let user = "user"
    /// Calls between nodes.
    public static let `internal` = "internal"
}

/// The claims of an access token. `did` is the device; a token without it is a service's, whose name is `sub`.
struct AccessTokenClaims: JWTPayload {
    var iss: String
    var sub: String
    var did: String?
    /// Separated by spaces.
    var scope: String
    /// Unix seconds.
    var iat: Int64
    var exp: Int64
    var jti: String

    /// Times are compared with the clock that was handed in, by ``JWTVerifier``.
    func verify(using algorithm: some JWTAlgorithm) throws {}

    var subject: AccessGrant.Subject? {
        guard let did else { return .client(sub) }
        guard let account = AccountID(sub), let device = DeviceID(did) else { return nil }
        return .device(account, device)
    }
}

/// Signs access tokens.
struct TokenIssuer: Sendable {
    let keys: KeyRing
    let clock: any WallClock
    let lifetime: Duration

    func issue(_ subject: AccessGrant.Subject, scopes: [String], issuer: String) async throws -> String {
        let now = clock.now
        var claims = AccessTokenClaims(
            iss: issuer, sub: "", did: nil, scope: scopes.joined(separator: " "), iat: now.milliseconds / 1000,
            exp: (now + lifetime).milliseconds / 1000, jti: SecureRandom.token(bytes: 12))
        switch subject {
        case .client(let name): claims.sub = name
        case .device(let account, let device):
            claims.sub = account.description
            claims.did = device.description
        }
        return try await keys.sign(claims)
    }
}

/// The published keys that access tokens are checked against.
protocol VerificationKeys: Sendable {
    /// Nil: there is no such key. May ask for new keys first.
    func verificationKey(_ id: String) async throws -> ES256PublicKey?
}

/// Checks access tokens: signature by a published key, times, shape. Asks nobody else, so to it a revoked device's last token
/// stays good until it expires; ``DeviceCheck`` is for those who ask about the device as well.
public struct JWTVerifier: TokenVerifier {
    private static let tokenBytesMax = 4096

    private struct Header: Decodable {
        var alg: String
        var kid: String
    }

    private let keys: any VerificationKeys
    private let clock: any WallClock
    private let issuer: String?

    /// - Parameter issuer: the only `iss` that is accepted; nil: the keys alone say whose tokens they are.
    public init(keys: KeyRing, clock: any WallClock, issuer: String? = nil) {
        self.keys = keys
        self.clock = clock
        self.issuer = issuer
    }

    /// For a node that knows the keys from the auth nodes.
    public init(keys: RemoteKeySet, clock: any WallClock, issuer: String? = nil) {
        self.keys = keys
        self.clock = clock
        self.issuer = issuer
    }

    public func verify(accessToken: String) async throws -> AccessGrant {
        guard accessToken.utf8.count <= Self.tokenBytesMax else { throw Self.refusal("the access token is not valid") }
        let parts = accessToken.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = Base64URL.decode(parts[0]),
            let fields = try? JSONDecoder().decode(Header.self, from: Data(header)),
            fields.alg == "ES256", let key = try await keys.verificationKey(fields.kid)
        else { throw Self.refusal("the access token is not valid") }
        let claims: AccessTokenClaims
        do {
            claims = try await JWTKeyCollection().add(ecdsa: key).verify(accessToken)
        } catch {
            throw ApusError(.unauthenticated, "the access token is not valid", cause: error)
        }
        let expiry = Timestamp(milliseconds: claims.exp &* 1000)
        guard expiry > clock.now else { throw Self.refusal("the access token has expired") }
        guard let subject = claims.subject, issuer == nil || claims.iss == issuer else {
            throw Self.refusal("the access token is not valid")
        }
        return AccessGrant(subject: subject, scopes: Set(claims.scope.split(separator: " ").map(String.init)), expiresAt: expiry)
    }

    private static func refusal(_ message: String) -> ApusError { ApusError(.unauthenticated, message) }
}
