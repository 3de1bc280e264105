#if Cluster
import ApusCore
import ApusProtocol
import Foundation

@testable import ApusBackends

/// The data of a single node with something of everything, in a directory.
struct SingleNode {
    static let alice = AccountID(1)
    static let bob = AccountID(2)
    static let carol = AccountID(3)
    static let gone = AccountID(4)
    static let direct = ConversationID(1_000)
    static let silent = ConversationID(1_001)
    static let group = ConversationID(2_000)

    let directory: URL

    /// - Parameter messages: in each of the direct and the group conversation. Those before the last few are in the tables for reading.
    init(_ directory: URL, messages: Int = 40) async throws {
        self.directory = directory
        var options = SQLiteStore.Options()
        options.recentEntriesMin = 8
        options.flushSliceMin = 4
        let store = try SQLiteStore(directory: directory, options: options)
        try await Self.addPeople(to: store)
        try await Self.addConversations(to: store, messages: messages)
        let lease = try await store.nodeLeases.acquire(for: .seconds(30))
        _ = try await store.nodeLeases.renew(lease, for: .seconds(30), idsThrough: 77_777_777)
        try await store.nodeLeases.release(lease)
        try store.close()
    }

    /// As a server does that is started again.
    func startAndStop() async throws {
        let store = try SQLiteStore(directory: directory)
        try await store.nodeLeases.release(store.nodeLeases.acquire(for: .seconds(30)))
        try store.close()
    }

    /// Looks at the data as a server does.
    func read<Value>(_ body: (SQLiteStore) async throws -> Value) async throws -> Value {
        let store = try SQLiteStore(directory: directory)
        let value: Value
        do {
            value = try await body(store)
        } catch {
            try store.close()
            throw error
        }
        try store.close()
        return value
    }

    private static func addPeople(to store: SQLiteStore) async throws {
        for (id, name) in [(alice, "alice"), (bob, "bob"), (carol, "carol"), (gone, "gone")] {
            try await store.accounts.create(
                Account(
                    id: id, username: name, displayName: "\(name) 你好 e\u{301} 👩‍👩‍👧 ", avatar: "", bio: "a\u{0}b",
                    passwordHash: "hash of \(name)",
                    createdAt: time(1)))
            try await store.devices.create(
                Device(
                    id: DeviceID(id.rawValue + 10), account: id, name: "laptop", platform: "linux", createdAt: time(2), lastSeenAt: time(3)),
                token: RefreshTokenRecord(hash: [UInt8](repeating: UInt8(id.rawValue), count: 32), expiresAt: time(9_999_999_999_999)))
        }
        let rotation = try await store.devices.rotate(
            [UInt8](repeating: 1, count: 32),
            to: RefreshTokenRecord(hash: [0, 255] + [UInt8](repeating: 7, count: 30), expiresAt: time(9_999_999_999_999)), at: time(4),
            grace: .seconds(60))
        guard case .rotated = rotation else { throw ApusError(.internal, "no rotation") }
        _ = try await store.devices.revoke([DeviceID(12)], of: bob, at: time(5))
        try await store.accounts.delete(gone, at: time(6))
        try await store.accounts.setDeparted(gone, at: time(7))
        _ = try await store.signingKeys.add(SigningKey(id: "k1", privatePEM: UUID().uuidString, createdAt: time(1)), replacing: nil)
        _ = try await store.signingKeys.add(SigningKey(id: "k2", privatePEM: "pem 2", createdAt: time(8)), replacing: "k1")
    }

    private static func addConversations(to store: SQLiteStore, messages: Int) async throws {
        _ = try await store.conversations.direct(between: alice, and: bob, proposedID: direct, at: time(10))
        _ = try await store.conversations.direct(between: alice, and: carol, proposedID: silent, at: time(11))
        _ = try store.log.append([
            entry(group, 0, change: .create(title: "plans — 计划", members: [bob, carol])), entry(group, 1, by: bob, change: .leave),
            entry(group, 2, change: .join([bob])), entry(group, 3, by: carol, change: .leave), entry(group, 4, change: .rename("other")),
        ])
        let step = max(4, messages / 50)
        for start in stride(from: 5, to: messages, by: step) {
            let range = start..<min(messages, start + step)
            _ = try store.log.append(range.flatMap { [entry(group, $0), entry(direct, $0, by: $0 % 3 == 0 ? bob : alice)] })
        }
        try await store.conversations.save([
            Mark(conversation: group, account: bob, read: 5, delivered: 7),
            Mark(conversation: direct, account: alice, read: 1, delivered: 1),
        ])
        _ = try await store.schedule.schedule(
            ScheduledEntry(
                id: EntryID(5), conversation: direct, sender: alice, clientID: "later", kind: .text, body: "later", createdAt: time(12),
                deliverAt: time(13)), waitingMax: 10)
    }

    /// The client's ids are not in the order of the log.
    static func entry(
        _ conversation: ConversationID, _ number: Int, by sender: AccountID = alice, change: ConversationChange? = nil
    ) -> NewEntry {
        NewEntry(
            id: EntryID(conversation.rawValue * 1_000_000 + UInt64(number)), conversation: conversation, sender: sender,
            clientID: "\(number &* 7_919 % 1_000)-\(number)", kind: change == nil ? .text : .system, body: "message \(number) 🙂",
            at: time(Int64(100 + number)), change: change)
    }

    private static func time(_ milliseconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds) }
}
#endif
