import ApusCore
import ApusProtocol

/// The promises of ``ScheduleStore``.
public enum ScheduleStoreConformance {
    public static let cases: [ConformanceCase<StoreSet>] = [
        .init("what is scheduled comes due, earliest first, until it is removed", due),
        .init("the same name, content and time is one message; anything else of that name is a conflict", names),
        .init("a name that is in the log is answered with its entry", delivered),
        .init("a sender has a bounded number waiting", bound),
    ]

    private static func entry(_ id: UInt64, client: String, body: String = "later", at: Int64, sender: UInt64 = 1) -> ScheduledEntry {
        ScheduledEntry(
            id: EntryID(id), conversation: ConversationID(7), sender: AccountID(sender), clientID: client, kind: .text, body: body,
            createdAt: time(0), deliverAt: time(at))
    }

    private static func due(_ stores: StoreSet) async throws {
        let store = stores.schedule
        try expectEqual(try await store.nextDue(), nil, "nothing due at first")
        let entries = [entry(1, client: "a", at: 300), entry(2, client: "b", at: 100), entry(3, client: "c", at: 200)]
        for entry in entries { try expectEqual(try await store.schedule(entry, waitingMax: 10), .scheduled, "scheduling") }
        try expectEqual(try await store.nextDue(), time(100), "the next due")
        try expectEqual(try await store.due(at: time(99), limit: 10), [], "before the first")
        try expectEqual(try await store.due(at: time(200), limit: 10), [entries[1], entries[2]], "due at the time of the second")
        try expectEqual(try await store.due(at: time(900), limit: 2), [entries[1], entries[2]], "two of three that are due")
        try await store.remove([EntryID(2), EntryID(3), EntryID(99)])
        try expectEqual(try await store.due(at: time(900), limit: 10), [entries[0]], "due after the removal")
        try expectEqual(try await store.nextDue(), time(300), "the next due after the removal")
    }

    private static func names(_ stores: StoreSet) async throws {
        let store = stores.schedule
        let first = entry(1, client: "a", at: 300)
        _ = try await store.schedule(first, waitingMax: 10)
        try expectEqual(try await store.schedule(entry(2, client: "a", at: 300), waitingMax: 10), .duplicate(first), "the same again")
        try expectEqual(try await store.schedule(entry(2, client: "a", at: 301), waitingMax: 10), .conflict, "another time")
        try expectEqual(try await store.schedule(entry(2, client: "a", body: "x", at: 300), waitingMax: 10), .conflict, "another body")
        try expectEqual(
            try await store.schedule(entry(2, client: "a", at: 300, sender: 2), waitingMax: 10), .scheduled, "the name of another sender")
        try expectEqual(try await store.due(at: time(900), limit: 10).count, 2, "messages waiting")
    }

    private static func delivered(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let sent = try await room.send(1, "a", body: "later")
        var again = entry(9, client: "a", at: 300)
        again.conversation = room.id
        try expectEqual(try await stores.schedule.schedule(again, waitingMax: 10), .delivered(sent), "a name in the log")
        again.body = "other"
        try expectEqual(try await stores.schedule.schedule(again, waitingMax: 10), .conflict, "a name in the log with other content")
    }

    private static func bound(_ stores: StoreSet) async throws {
        let store = stores.schedule
        for id in 1...3 as ClosedRange<UInt64> { _ = try await store.schedule(entry(id, client: "\(id)", at: 300), waitingMax: 3) }
        try expectEqual(try await store.schedule(entry(4, client: "4", at: 300), waitingMax: 3), .full, "one too many")
        try expectEqual(
            try await store.schedule(entry(5, client: "1", at: 300), waitingMax: 3), .duplicate(entry(1, client: "1", at: 300)),
            "a repeated one")
        try expectEqual(try await store.schedule(entry(6, client: "6", at: 300, sender: 2), waitingMax: 3), .scheduled, "another sender")
        try await store.remove([EntryID(1)])
        try expectEqual(try await store.schedule(entry(4, client: "4", at: 300), waitingMax: 3), .scheduled, "after one went out")
    }
}
