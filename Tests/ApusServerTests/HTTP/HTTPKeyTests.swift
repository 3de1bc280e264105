import ApusCore
import ApusProtocol
import Foundation
import Logging
import Testing

@testable import ApusServer

@Suite("HTTP: signing keys")
struct HTTPKeyTests {
    private static func published(_ server: TestServer) async throws -> [String] {
        let data = try await server.get(HTTPPath.jwks).body
        let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        return try #require(document["keys"] as? [[String: String]]).compactMap { $0["kid"] }
    }

    private static func kid(_ person: TestServer.Person) throws -> String {
        try #require(try HTTPTokenTests.parts(of: person.token).header["kid"] as? String)
    }

    private static func ring(_ store: MemoryStore, _ clock: TestClock) -> KeyRing {
        KeyRing(store: store, clock: clock, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    }

    @Test("A rotation logs nobody out: old tokens verify until they expire, and only then is their key forgotten")
    func rotation() async throws {
        try await TestServer.run { server in
            let before = try await server.person("alice")
            try await server.keys.rotate()
            let published = try await Self.published(server)
            #expect(published.count == 2)
            // Published, but not used before every node can know it.
            let during = try await server.login("alice")
            #expect(try Self.kid(during) == Self.kid(before))
            server.clock.advance(.seconds(121))
            let after = try await server.login("alice")
            #expect(try Self.kid(after) == published[0])
            for person in [before, during, after] { #expect(try await server.get(HTTPPath.account, person).status == 200) }

            server.clock.advance(.seconds(890))
            try await server.keys.maintain()
            #expect(try await Self.published(server).count == 2)
            server.clock.advance(.seconds(130))
            try await server.keys.maintain()
            #expect(try await Self.published(server) == [published[0]])
            let renewed = try await server.refresh(before.refreshToken)
            #expect(renewed.status == 200)
        }
    }

    @Test("Keys are rotated by age, once")
    func age() async throws {
        try await TestServer.run { server in
            let first = try await Self.published(server)
            server.clock.advance(.seconds(30 * 86_400 - 1))
            try await server.keys.maintain()
            #expect(try await Self.published(server) == first)
            server.clock.advance(.seconds(1))
            try await server.keys.maintain()
            try await server.keys.maintain()
            #expect(try await Self.published(server).count == 2)
        }
    }

    @Test("A node that does not know a key yet reads the store again, but not for every invented key id")
    func unknownKey() async throws {
        let (store, clock) = (MemoryStore(), TestClock())
        let (one, other) = (Self.ring(store, clock), Self.ring(store, clock))
        let issuer = TokenIssuer(keys: one, clock: clock, lifetime: .seconds(900))
        let verifier = JWTVerifier(keys: other, clock: clock)
        let grant = AccessGrant.Subject.client("x")
        let first = try await issuer.issue(grant, scopes: [], issuer: "x")
        #expect(try await verifier.verify(accessToken: first).subject == grant)

        try await one.rotate()
        clock.advance(.milliseconds(1))
        let newest = try await store.signingKeys()[0].id
        #expect(try await other.verificationKey(newest) == nil)
        clock.advance(.seconds(1))
        #expect(try await other.verificationKey(newest) != nil)
    }

    @Test("Two nodes that start at once share one first key")
    func firstKey() async throws {
        let (store, clock) = (MemoryStore(), TestClock())
        let rings = (0..<4).map { _ in Self.ring(store, clock) }
        let ids = try await withThrowingTaskGroup(of: [String].self) { group in
            for ring in rings { group.addTask { try await ring.publishedKeys().map(\.id) } }
            return try await group.reduce(into: Set<[String]>()) { $0.insert($1) }
        }
        #expect(ids == [try await store.signingKeys().map(\.id)])
        #expect(try await store.signingKeys().count == 1)
    }

    @Test("With an issuer given, the tokens of another issuer are refused")
    func issuer() async throws {
        let (store, clock) = (MemoryStore(), TestClock())
        let ring = Self.ring(store, clock)
        let token = try await TokenIssuer(keys: ring, clock: clock, lifetime: .seconds(900)).issue(.client("x"), scopes: [], issuer: "a")
        #expect(try await JWTVerifier(keys: ring, clock: clock, issuer: "a").verify(accessToken: token).subject == .client("x"))
        await #expect { try await JWTVerifier(keys: ring, clock: clock, issuer: "b").verify(accessToken: token) } throws: {
            ($0 as? ApusError)?.code == .unauthenticated
        }
    }
}

@Suite("Password hashing")
struct HTTPPasswordHasherTests {
    private static let cheap = ScryptPasswordHasher.Parameters(logRounds: 2)

    @Test("A hash carries its parameters and a salt of its own, and verifies with them whatever the hasher's are")
    func parameters() async throws {
        let hasher = ScryptPasswordHasher(parameters: Self.cheap, threads: 1)
        let other = ScryptPasswordHasher(parameters: .init(logRounds: 3, parallelism: 2), threads: 1)
        let hash = try await hasher.hash("pass word")
        #expect(hash.hasPrefix("$scrypt$ln=2,r=8,p=1$"))
        #expect(try await hasher.hash("pass word") != hash)
        #expect(try await other.verify("pass word", against: hash))
        #expect(try await !other.verify("pass  word", against: hash))
        #expect(try await !other.verify("pass word", against: nil))
        try await hasher.shutdown()
        try await other.shutdown()
    }

    @Test("A hash of a lower cost than today's is outdated, one of today's or a higher cost is not, nor is what is none of ours")
    func outdated() async throws {
        let hasher = ScryptPasswordHasher(parameters: .init(logRounds: 3), threads: 1)
        func hash(_ costs: String) -> String { "$scrypt$\(costs)$AAAA$AAAA" }
        #expect(hasher.isOutdated(hash("ln=2,r=8,p=1")))
        #expect(hasher.isOutdated(hash("ln=3,r=4,p=1")))
        for same in ["ln=3,r=8,p=1", "ln=4,r=8,p=1", "ln=2,r=8,p=2"] { #expect(!hasher.isOutdated(hash(same))) }
        #expect(!hasher.isOutdated("$argon2$x$AA$AA"))
        try await hasher.shutdown()
    }

    @Test("A login upgrades a hash of a cheaper time, once; a wrong password does not, and several logins at once all succeed")
    func upgrade() async throws {
        let store = MemoryStore()
        let cheap = ScryptPasswordHasher(parameters: Self.cheap, threads: 1)
        let account = Account(
            id: AccountID(1), username: "alice", displayName: "Alice", passwordHash: try await cheap.hash(TestServer.password),
            createdAt: Timestamp(milliseconds: 1))
        try await cheap.shutdown()
        try await store.create(account)
        let present = ScryptPasswordHasher(parameters: .init(logRounds: 3), threads: 2)
        var options = TestServer.Options()
        options.store = store
        options.hasher = present
        try await TestServer.run(options) { server in
            func stored() async throws -> String? { try await store.account(account.id)?.passwordHash }
            #expect(try await server.loginAnswer("alice", ["password": "wrong password"]).status == 400)
            #expect(try await stored() == account.passwordHash)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<6 { group.addTask { try await server.loginAnswer("alice").status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == Array(repeating: 200, count: 6))
            let upgraded = try await stored()
            #expect(upgraded?.hasPrefix("$scrypt$ln=3,r=8,p=1$") == true)
            #expect(try await server.loginAnswer("alice").status == 200)
            #expect(try await stored() == upgraded)
        }
        try await present.shutdown()
    }

    @Test("scrypt is computed as RFC 7914 section 12 says")
    func vector() async throws {
        let hasher = ScryptPasswordHasher(threads: 1)
        // P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1: the first 32 of its 64 bytes.
        let key: [UInt8] = [
            0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48, 0x46, 0x1c, 0x06, 0xcd, 0x81, 0xfd, 0x38, 0xeb, 0xfd, 0xa8, 0xfb, 0xba, 0x90,
            0x4f, 0x8e, 0x3e, 0xa9, 0xb5, 0x43, 0xf6, 0x54, 0x5d, 0xa1, 0xf2,
        ]
        func text(_ bytes: some Sequence<UInt8>) -> String { Data(bytes).base64EncodedString().replacingOccurrences(of: "=", with: "") }
        let hash = "$scrypt$ln=14,r=8,p=1$\(text("SodiumChloride".utf8))$\(text(key))"
        #expect(try await hasher.verify("pleaseletmein", against: hash))
        try await hasher.shutdown()
    }

    @Test("The same password with its accents composed differently is the same password")
    func normalization() async throws {
        let hasher = ScryptPasswordHasher(parameters: Self.cheap, threads: 1)
        #expect(try await hasher.verify("cafe\u{301} au lait", against: try await hasher.hash("caf\u{E9} au lait")))
        try await hasher.shutdown()
    }

    @Test("More than may wait are refused as overloaded, at once and retryable")
    func overload() async throws {
        let hasher = ScryptPasswordHasher(threads: 1, waitingMax: 1)
        let outcomes = await withTaskGroup(of: ErrorCode?.self) { group in
            for _ in 0..<10 {
                group.addTask {
                    do {
                        _ = try await hasher.hash("pass word")
                        return nil
                    } catch { return (error as? ApusError)?.code ?? .internal }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.contains(nil))
        #expect(outcomes.contains(.overloaded))
        #expect(Set(outcomes.compactMap(\.self)) == [.overloaded])
        #expect(ErrorCode.overloaded.isRetryable)
        try await hasher.shutdown()
    }

    @Test(
        "A stored hash that is none of ours is an error and not a wrong password",
        arguments: ["", "x", "$scrypt$ln=99,r=8,p=1$AA$AA", "$scrypt$ln=2,r=8,p=1$AA$", "$argon2$x$AA$AA"])
    func unreadable(hash: String) async throws {
        let hasher = ScryptPasswordHasher(parameters: Self.cheap, threads: 1)
        await #expect { try await hasher.verify("x", against: hash) } throws: { ($0 as? ApusError)?.code == .internal }
        try await hasher.shutdown()
    }
}
