import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOConcurrencyHelpers

/// Gets tokens from the auth role by the client-credentials grant, and keeps each until shortly before it expires.
public final class ServiceTokenSource: PeerTokenSource {
    private struct Token {
        var text: String
        var renewAt: Timestamp
    }

    private static let responseBytesMax = 16_384

    private let endpoints: @Sendable () async throws -> [String]
    private let authorization: String
    private let http: HTTPClient
    private let certificate: ClusterCertificate?
    private let timeout: Duration
    private let clock: any WallClock
    private let token = NIOLockedValueBox<Token?>(nil)
    private let lock = KeyedLock<String>(waitersMax: 1100)

    /// - Parameters:
    ///   - endpoints: the URLs of the token endpoints that can be asked now; the first that answers is taken.
    ///   - certificate: for `https` endpoints of the cluster's own.
    ///   - timeout: for each of them.
    public init(
        clientID: String, secret: String, http: HTTPClient, certificate: ClusterCertificate? = nil, timeout: Duration = .seconds(5),
        clock: any WallClock,
        endpoints: @escaping @Sendable () async throws -> [String]
    ) {
        self.endpoints = endpoints
        self.http = http
        self.certificate = certificate
        self.timeout = timeout
        self.clock = clock
        // RFC 6749 section 2.3.1: both are form-encoded first.
        let credentials = Self.encoded(clientID) + ":" + Self.encoded(secret)
        authorization = "Basic " + Data(credentials.utf8).base64EncodedString()
    }

    /// - Throws: ``ApusError`` `store_unavailable` when no endpoint gives one, with the last one's reason.
    public func accessToken() async throws -> String {
        // One asks, the others wait for its answer.
        try await lock.withLock("token") {
            if let token = token.withLockedValue({ $0 }), clock.now < token.renewAt { return token.text }
            let fresh = try await fetch()
            token.withLockedValue { $0 = fresh }
            return fresh.text
        }
    }

    public func refused(_ accessToken: String) async {
        token.withLockedValue { token in
            if token?.text == accessToken { token = nil }
        }
    }

    private func fetch() async throws -> Token {
        var cause: (any Error)?
        for endpoint in try await endpoints() {
            do {
                return try await fetch(from: endpoint)
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                cause = error
            }
        }
        throw ApusError(.storeUnavailable, "no auth node gives this node a token", cause: cause)
    }

    private func fetch(from endpoint: String) async throws -> Token {
        var request = HTTPClientRequest(url: endpoint)
        request.method = .POST
        request.tlsConfiguration = certificate?.clientConfiguration
        request.headers.add(name: "Authorization", value: authorization)
        request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
        request.body = .bytes(Array("grant_type=client_credentials&scope=\(Scope.internal)".utf8))
        let asked = clock.now
        let response = try await http.execute(request, timeout: .nanoseconds(timeout.nanoseconds))
        let body = Data(try await response.body.collect(upTo: Self.responseBytesMax).readableBytesView)
        guard response.status == .ok else {
            let error = try? JSONDecoder().decode(OAuthErrorResponse.self, from: body)
            throw ApusError(.unauthenticated, "\(endpoint) answers \(response.status.code) \(error?.error ?? "")")
        }
        let answer = try JSONDecoder().decode(TokenResponse.self, from: body)
        // The last fifth of its life is for the way and for clocks that differ.
        return Token(text: answer.accessToken, renewAt: asked + .seconds(max(0, answer.expiresIn) * 4 / 5))
    }

    private static func encoded(_ text: String) -> String {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        return text.addingPercentEncoding(withAllowedCharacters: allowed) ?? text
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
