import ApusProtocol

/// A key that signs access tokens.
public struct SigningKey: Sendable, Hashable {
    /// The `kid` of tokens and of the JWKS.
    public var id: String
    /// ES256 private key, PEM.
    public var privatePEM: String
    public var createdAt: Timestamp

    public init(id: String, privatePEM: String, createdAt: Timestamp) {
        self.id = id
        self.privatePEM = privatePEM
        self.createdAt = createdAt
    }
}

/// The signing keys that all nodes of the auth role share. The newest signs, all verify.
public protocol SigningKeyStore: Sendable {
    /// Newest first.
    func signingKeys() async throws -> [SigningKey]
    /// Adds `key` if the newest key's id is still `expected` (nil: there is none). Returns whether it did: of two nodes that
    /// rotate at once one wins.
    func add(_ key: SigningKey, replacing expected: String?) async throws -> Bool
    /// Forgets keys, whose tokens have all expired.
    func remove(_ ids: [String]) async throws
}
