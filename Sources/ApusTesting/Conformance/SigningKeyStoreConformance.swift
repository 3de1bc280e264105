import ApusCore
import ApusProtocol

/// The promises of ``SigningKeyStore``.
public enum SigningKeyStoreConformance {
    public static let cases: [ConformanceCase<any SigningKeyStore>] = [
        .init("keys come newest first, and a key replaces only the newest that it names", replacing),
        .init("of nodes that rotate at once one wins", race),
        .init("removed keys are gone and the order of the others stays", removal),
    ]

    private static func key(_ id: String) -> SigningKey { SigningKey(id: id, privatePEM: "-----\(id)-----\n", createdAt: time(1)) }

    private static func replacing(_ store: any SigningKeyStore) async throws {
        try expectEqual(try await store.signingKeys(), [], "no key at first")
        try expect(try await !store.add(key("b"), replacing: "a"), "a key that there is not is not replaced")
        try expect(try await store.add(key("a"), replacing: nil), "the first key")
        try expect(try await !store.add(key("b"), replacing: nil), "there is a key by now")
        try expect(try await store.add(key("b"), replacing: "a"), "the second key")
        try expect(try await !store.add(key("c"), replacing: "a"), "the newest is another")
        try expect(try await !store.add(key("a"), replacing: "b"), "an id is used once")
        try expectEqual(try await store.signingKeys(), [key("b"), key("a")], "keys")
    }

    private static func race(_ store: any SigningKeyStore) async throws {
        let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
            for node in 0..<8 { group.addTask { try await store.add(key("node\(node)"), replacing: nil) } }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        try expectEqual(winners, 1, "nodes that added the first key")
        try expectEqual(try await store.signingKeys().count, 1, "keys")
    }

    private static func removal(_ store: any SigningKeyStore) async throws {
        _ = try await store.add(key("a"), replacing: nil)
        _ = try await store.add(key("b"), replacing: "a")
        _ = try await store.add(key("c"), replacing: "b")
        try await store.remove(["a", "c", "unknown"])
        try expectEqual(try await store.signingKeys(), [key("b")], "keys left")
        try expect(try await store.add(key("d"), replacing: "b"), "a key after the removal")
        try expectEqual(try await store.signingKeys(), [key("d"), key("b")], "keys at the end")
    }
}
