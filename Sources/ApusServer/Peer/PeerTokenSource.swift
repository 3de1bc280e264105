import ApusCore
import ApusProtocol

/// Gives this node's access token of scope `internal`.
public protocol PeerTokenSource: Sendable {
    /// - Throws: ``ApusError`` `unavailable` codes when no token can be had now.
    func accessToken() async throws -> String
    /// Another node refused this token: it is not given out again.
    func refused(_ accessToken: String) async
}

/// Signs the tokens itself: in a process that has the auth role.
public struct IssuedTokenSource: PeerTokenSource {
    private let issuer: TokenIssuer
    private let name: String
    private let issuerName: String

    /// - Parameters:
    ///   - name: of the service, the token's subject.
    ///   - issuer: the token's `iss`; the one that the verifiers of the other nodes expect, if they expect one.
    public init(keys: KeyRing, clock: any WallClock, name: String, issuer: String) {
        self.issuer = TokenIssuer(keys: keys, clock: clock, lifetime: .seconds(300))
        self.name = name
        issuerName = issuer
    }

    public func accessToken() async throws -> String {
        try await issuer.issue(.client(name), scopes: [Scope.internal], issuer: issuerName)
    }

    /// Each token is a new one.
    public func refused(_ accessToken: String) async {}
}
