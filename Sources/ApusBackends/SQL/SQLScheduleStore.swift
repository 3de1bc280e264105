import ApusCore
import ApusProtocol

/// ``ScheduleStore`` over any SQL database.
struct SQLScheduleStore<Driver: SQLDriver>: ScheduleStore {
    let driver: Driver
    /// Finds an entry of the log by its name, within the transaction of the session.
    let logged: @Sendable (EntryName, Driver.Session) throws -> Entry?

    private static var columns: String { "id, conversation, sender, client_id, kind, body, created_at, deliver_at" }

    func schedule(_ entry: ScheduledEntry, waitingMax: Int) async throws -> ScheduleOutcome {
        do {
            return try await scheduleOnce(entry, waitingMax: waitingMax)
        } catch let violation as SQLUniqueViolation {
            throw ApusError(.conflict, "the id of the scheduled message is taken", cause: violation)
        }
    }

    /// Two nodes that count at the same time may together pass `waitingMax` by one each.
    private func scheduleOnce(_ entry: ScheduledEntry, waitingMax: Int) async throws -> ScheduleOutcome {
        try await driver.writeAgainIfAdded { [logged] session in
            let name = EntryName(conversation: entry.conversation, sender: entry.sender, clientID: entry.clientID)
            if let first = try logged(name, session) {
                return first.kind == entry.kind && first.body == entry.body ? .delivered(first) : .conflict
            }
            if let first = try Self.waiting(name, session) {
                let isSame = first.kind == entry.kind && first.body == entry.body && first.deliverAt == entry.deliverAt
                return isSame ? .duplicate(first) : .conflict
            }
            let waiting = try session.row("SELECT COUNT(*) FROM scheduled_entry WHERE sender = ?", .id(entry.sender))
            guard try (waiting?.integer(0) ?? 0) < Int64(waitingMax) else { return .full }
            try session.execute(
                "INSERT INTO scheduled_entry (\(Self.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                .id(entry.id), .id(entry.conversation), .id(entry.sender), .text(entry.clientID), .text(entry.kind.rawValue),
                .text(entry.body), .time(entry.createdAt), .time(entry.deliverAt))
            return .scheduled
        }
    }

    func due(at time: Timestamp, limit: Int) async throws -> [ScheduledEntry] {
        try await driver.read { session in
            try session.rows(
                "SELECT \(Self.columns) FROM scheduled_entry WHERE deliver_at <= ? ORDER BY deliver_at, id LIMIT ?",
                .time(time), .count(max(0, limit))
            ).map(Self.entry)
        }
    }

    func nextDue() async throws -> Timestamp? {
        try await driver.read { session in
            try session.row("SELECT deliver_at FROM scheduled_entry ORDER BY deliver_at, id LIMIT 1").map { try $0.time(0) }
        }
    }

    func remove(_ ids: [EntryID]) async throws {
        try await driver.write { session in
            for id in ids { try session.execute("DELETE FROM scheduled_entry WHERE id = ?", .id(id)) }
        }
    }

    private static func waiting(_ name: EntryName, _ session: Driver.Session) throws -> ScheduledEntry? {
        try session.row(
            "SELECT \(columns) FROM scheduled_entry WHERE conversation = ? AND sender = ? AND client_id = ?",
            .id(name.conversation), .id(name.sender), .text(name.clientID)
        ).map(entry)
    }

    private static func entry(_ row: SQLRow) throws -> ScheduledEntry {
        ScheduledEntry(
            id: try row.id(0), conversation: try row.id(1), sender: try row.id(2), clientID: try row.text(3),
            kind: EntryKind(rawValue: try row.text(4)), body: try row.text(5), createdAt: try row.time(6), deliverAt: try row.time(7))
    }
}
