import ApusCore
import ApusProtocol

/// The promises of ``AccountStore``.
public enum AccountStoreConformance {
    public static let cases: [ConformanceCase<any AccountStore>] = [
        .init("an account is found by id and by username, as it was stored", found),
        .init("a username is given once, also after its account was deleted", usernamesAreUnique),
        .init("of many who want a username at once one gets it", usernameRace),
        .init("several accounts are fetched at once and unknown ids left out", several),
        .init("a prefix is matched literally, and matches are ascending and limited", prefix),
        .init("an update replaces the profile and nothing else, and nothing of an account that is gone", update),
        .init("a password hash is replaced if it is still the old one, by one of many", passwordHash),
        .init("a deleted account is found by nobody", deleted),
        .init("deleted accounts are departing until they have departed, in pages", departing),
    ]

    static func account(_ id: UInt64, _ username: String) -> Account {
        Account(
            id: AccountID(id), username: username, displayName: "Name \(id)", avatar: "a\(id)", bio: "", passwordHash: "hash\(id)",
            createdAt: time(Int64(id)))
    }

    private static func found(_ store: any AccountStore) async throws {
        var alice = account(1, "alice")
        alice.bio = "zeichnet 🐦 und 'zitiert' \"gern\"\nmit \u{0} darin"
        try await store.create(alice)
        try expectEqual(try await store.account(alice.id), alice, "by id")
        try expectEqual(try await store.account(username: "alice"), alice, "by username")
        try expectEqual(try await store.account(AccountID(2)), nil, "an unknown id")
        try expectEqual(try await store.account(AccountID(.max)), nil, "the largest id")
        try expectEqual(try await store.account(username: "Alice"), nil, "another case")
    }

    private static func usernamesAreUnique(_ store: any AccountStore) async throws {
        try await store.create(account(1, "alice"))
        try await expectRefusal(.conflict, "a taken username") { try await store.create(account(2, "alice")) }
        try await store.delete(AccountID(1), at: time(10))
        try await expectRefusal(.conflict, "the username of a deleted account") { try await store.create(account(3, "alice")) }
        try expectEqual(try await store.account(AccountID(3)), nil, "the account that was refused")
    }

    private static func usernameRace(_ store: any AccountStore) async throws {
        let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
            for id in 1...8 as ClosedRange<UInt64> {
                group.addTask {
                    do {
                        try await store.create(account(id, "alice"))
                        return true
                    } catch let error as ApusError where error.code == .conflict {
                        return false
                    }
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        try expectEqual(winners, 1, "accounts that got the username")
    }

    private static func several(_ store: any AccountStore) async throws {
        for id in 1...5 as ClosedRange<UInt64> { try await store.create(account(id, "user\(id)")) }
        try await store.delete(AccountID(4), at: time(10))
        let found = try await store.accounts(ids(5, 1, 1, 99, 4, 3))
        try expectEqual(found.map(\.id).sorted(), ids(1, 3, 5), "accounts found")
        try expectEqual(try await store.accounts([]), [], "no ids")
        try expectEqual(try await store.accounts((1...1000).map { AccountID(UInt64($0)) }).count, 4, "a thousand ids")
    }

    private static func prefix(_ store: any AccountStore) async throws {
        for (id, name) in ["a_c", "abc", "a%c", "ab", "abd", "b", "a"].enumerated() {
            try await store.create(account(UInt64(id + 1), name))
        }
        try expectEqual(try await names(store, "ab", 10), ["ab", "abc", "abd"], "a prefix")
        try expectEqual(try await names(store, "ab", 2), ["ab", "abc"], "a limited prefix")
        try expectEqual(try await names(store, "a_", 10), ["a_c"], "a prefix with _")
        try expectEqual(try await names(store, "a%", 10), ["a%c"], "a prefix with %")
        try expectEqual(try await names(store, "A", 10), [], "a prefix in another case")
        try expectEqual(try await names(store, "", 3), ["a", "a%c", "a_c"], "the empty prefix")
        try await store.delete(AccountID(2), at: time(10))
        try expectEqual(try await names(store, "ab", 10), ["ab", "abd"], "after an account was deleted")
    }

    private static func names(_ store: any AccountStore, _ prefix: String, _ limit: Int) async throws -> [String] {
        try await store.accounts(usernamePrefix: prefix, limit: limit).map(\.username)
    }

    private static func update(_ store: any AccountStore) async throws {
        var alice = account(1, "alice")
        try await store.create(alice)
        alice.displayName = "Alice"
        alice.avatar = "new"
        alice.bio = "new"
        var update = alice
        update.passwordHash = "not a matter of the profile"
        update.username = "mallory"
        try await store.update(update)
        try expectEqual(try await store.account(alice.id), alice, "after an update")
        try await store.update(account(2, "bob"))
        try expectEqual(try await store.account(AccountID(2)), nil, "an update of nobody")
        try await store.delete(alice.id, at: time(10))
        try await store.update(alice)
        try expectEqual(try await store.account(alice.id), nil, "an update of a deleted account")
    }

    private static func passwordHash(_ store: any AccountStore) async throws {
        let alice = account(1, "alice")
        try await store.create(alice)
        try expect(try await !store.setPasswordHash("new", replacing: "other", of: alice.id), "the old hash is another")
        try expectEqual(try await store.account(alice.id), alice, "nothing changed")
        let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
            for change in 0..<8 {
                group.addTask { try await store.setPasswordHash("new\(change)", replacing: alice.passwordHash, of: alice.id) }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        try expectEqual(winners, 1, "changes that won")
        let changed = try require(try await store.account(alice.id), "the account")
        try expect(changed.passwordHash.hasPrefix("new"), "the new hash")
        try await store.delete(alice.id, at: time(10))
        try expect(try await !store.setPasswordHash("x", replacing: changed.passwordHash, of: alice.id), "a deleted account")
        try expect(try await !store.setPasswordHash("x", replacing: "", of: AccountID(9)), "no account")
    }

    private static func departing(_ store: any AccountStore) async throws {
        for id in 1...6 as ClosedRange<UInt64> { try await store.create(account(id, "user\(id)")) }
        try expectEqual(try await store.departing(after: nil, limit: 10), [], "before a deletion")
        for id in [5, 2, 3, 6] as [UInt64] { try await store.delete(AccountID(id), at: time(10)) }
        try expectEqual(try await store.departing(after: nil, limit: 3), ids(2, 3, 5), "the first page")
        try expectEqual(try await store.departing(after: AccountID(5), limit: 3), ids(6), "the second page")
        for id in [1, 3, 99] as [UInt64] { try await store.setDeparted(AccountID(id), at: time(11)) }
        try expectEqual(try await store.departing(after: nil, limit: 10), ids(2, 5, 6), "without one that has departed")
        try await store.delete(AccountID(1), at: time(12))
        try expectEqual(try await store.departing(after: nil, limit: 10), ids(1, 2, 5, 6), "one that was not deleted has not departed")
    }

    private static func deleted(_ store: any AccountStore) async throws {
        try await store.create(account(1, "alice"))
        try await store.delete(AccountID(1), at: time(10))
        try expectEqual(try await store.account(AccountID(1)), nil, "by id")
        try expectEqual(try await store.account(username: "alice"), nil, "by username")
        try expectEqual(try await store.accounts([AccountID(1)]), [], "among several")
        try expectEqual(try await names(store, "a", 10), [], "by prefix")
    }
}
