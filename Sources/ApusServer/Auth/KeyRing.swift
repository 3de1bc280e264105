import ApusCore
import ApusProtocol
import Crypto
import JWTKit
import Logging
import ServiceLifecycle

/// The signing keys of all nodes, as this node knows them. Makes the first key, rotates by age, publishes, and forgets keys
/// whose tokens have expired; ``KeySchedule`` says when. Nobody is logged out by a rotation.
public actor KeyRing: Service, VerificationKeys {
    /// The store as it was read.
    private struct Snapshot {
        /// Newest first.
        var keys: [SigningKey]
        var parsed: [String: ES256PrivateKey]
        var readAt: Timestamp
    }

    /// Between two reads of the store because of an unknown key id, so that invented ids do not become a load.
    private static let unknownKeyPause = Duration.seconds(1)

    private let store: any SigningKeyStore
    private let schedule: KeySchedule
    private let clock: any WallClock
    private let refreshInterval: Duration
    private let logger: Logger
    private var snapshot: Snapshot?

    /// - Parameter refreshInterval: how often the store is read again; at most half of the schedule's publication lead.
    public init(
        store: any SigningKeyStore, schedule: KeySchedule = KeySchedule(), clock: any WallClock,
        refreshInterval: Duration = .seconds(60), logger: Logger
    ) {
        self.store = store
        self.schedule = schedule
        self.clock = clock
        self.refreshInterval = refreshInterval
        self.logger = logger
    }

    /// Maintains the keys until shutdown.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                do {
                    try await maintain()
                } catch {
                    // The keys at hand stay good; the next round tries again.
                    logger.error("cannot maintain the signing keys", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: refreshInterval)
            }
        }
    }

    /// One round: reads the store, rotates if it is time, forgets expired keys.
    public func maintain() async throws {
        let keys = try await read().keys
        if schedule.isDue(keys, at: clock.now) { try await addKey(replacing: keys.first?.id) }
        let expired = schedule.expired(try await current().keys, at: clock.now).map(\.id)
        guard !expired.isEmpty else { return }
        try await store.remove(expired)
        try await read()
        logger.info("removed expired signing keys", metadata: ["kids": "\(expired)"])
    }

    /// Adds a key now. It signs once every node can know it; those before it go on verifying.
    public func rotate() async throws {
        try await addKey(replacing: try await read().keys.first?.id)
    }

    // MARK: Use

    func sign(_ claims: some JWTPayload) async throws -> String {
        var snapshot = try await current()
        if snapshot.keys.isEmpty {
            try await addKey(replacing: nil)
            snapshot = try await current()
        }
        guard let id = schedule.signingKey(of: snapshot.keys, at: clock.now)?.id, let key = snapshot.parsed[id] else {
            throw ApusError(.storeUnavailable, "there is no signing key")
        }
        return try await JWTKeyCollection().add(ecdsa: key, kid: JWKIdentifier(string: id)).sign(claims, kid: JWKIdentifier(string: id))
    }

    func verificationKey(_ id: String) async throws -> ES256PublicKey? {
        let known = try await current()
        if let key = known.parsed[id] { return key.publicKey }
        guard clock.now >= known.readAt + Self.unknownKeyPause else { return nil }
        return try await read().parsed[id]?.publicKey
    }

    /// Public halves of all keys, newest first, as `(kid, x, y)` in base64url.
    func publishedKeys() async throws -> [(id: String, x: String, y: String)] {
        var snapshot = try await current()
        if snapshot.keys.isEmpty {
            try await addKey(replacing: nil)
            snapshot = try await current()
        }
        return try snapshot.keys.map { key in
            // Not JWTKit's own parameters, which are base64 with padding where the JWKS has base64url without.
            let point = try P256.Signing.PrivateKey(pemRepresentation: key.privatePEM).publicKey.rawRepresentation
            return (key.id, Base64URL.encode(point.prefix(32)), Base64URL.encode(point.suffix(32)))
        }
    }

    // MARK: Store

    private func current() async throws -> Snapshot {
        if let snapshot { return snapshot }
        return try await read()
    }

    @discardableResult
    private func read() async throws -> Snapshot {
        let readAt = clock.now
        let keys = try await store.signingKeys()
        var parsed: [String: ES256PrivateKey] = [:]
        for key in keys {
            do {
                parsed[key.id] = try snapshot?.parsed[key.id] ?? ES256PrivateKey(pem: key.privatePEM)
            } catch {
                throw ApusError(.internal, "signing key \(key.id) is not readable", cause: error)
            }
        }
        let fresh = Snapshot(keys: keys, parsed: parsed, readAt: readAt)
        snapshot = fresh
        return fresh
    }

    private func addKey(replacing newest: String?) async throws {
        let key = SigningKey(
            id: SecureRandom.token(bytes: 12), privatePEM: ES256PrivateKey().pemRepresentation, createdAt: clock.now)
        // When another node was faster, its key is as good as ours.
        if try await store.add(key, replacing: newest) { logger.info("added a signing key", metadata: ["kid": "\(key.id)"]) }
        try await read()
    }
}
