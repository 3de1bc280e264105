import ApusCore
import ApusProtocol
import GRDB
import NIOConcurrencyHelpers

/// ``EntryLog`` of the embedded store.
final class SQLiteEntryLog: EntryLog {
    private let database: SQLiteDatabase
    private let options: SQLiteStore.Options
    /// Conversations as they are after the last commit. This process is the only one that writes.
    private let states = NIOLockedValueBox<[ConversationID: ConversationState]>([:])

    init(database: SQLiteDatabase, options: SQLiteStore.Options) {
        self.database = database
        self.options = options
    }

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        do {
            return try database.onWriter { connection in
                let session = SQLiteSession(database: connection)
                let plan = try AppendPlan(batch, membersMax: options.membersMax, source: Source(log: self, session: session))
                guard !plan.entries.isEmpty else { return plan.outcomes }
                try connection.inTransaction(.immediate) {
                    try write(plan, session)
                    return .commit
                }
                states.withLockedValue { $0.merge(plan.states) { $1 } }
                return plan.outcomes
            }
        } catch {
            // Nobody knows what became of the commit: what is on disk decides.
            states.withLockedValue { $0.removeAll() }
            throw error
        }
    }

    private struct Source: AppendSource {
        let log: SQLiteEntryLog
        let session: SQLiteSession

        func state(of conversation: ConversationID) throws -> ConversationState? { try log.state(of: conversation, session) }
        func entry(named name: EntryName) throws -> Entry? { try log.entry(named: name, session) }
    }

    private func write(_ plan: AppendPlan, _ session: SQLiteSession) throws {
        var position = try session.row("SELECT MAX(position) FROM entry").map { $0.isNull(0) ? 0 : try $0.integer(0) } ?? 0
        for planned in plan.entries {
            position += 1
            let entry = planned.entry
            for effect in planned.effects { try session.write(effect, of: entry.conversation, seq: planned.seq) }
            try session.execute(
                "INSERT INTO entry (position, conversation, seq, sender, client_id, id, at, kind, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                .integer(position), .id(entry.conversation), .seq(planned.seq), .id(entry.sender), .text(entry.clientID), .id(entry.id),
                .time(entry.at), .text(entry.kind.rawValue), .text(entry.body))
            try session.execute(
                "UPDATE conversation SET head = ?, moved = ? WHERE id = ?", .seq(planned.seq), .integer(position), .id(entry.conversation))
        }
    }

    // MARK: Reading on the writer's connection

    /// The conversation after the last commit; call it on the writer's queue only.
    func state(of id: ConversationID, _ session: SQLiteSession) throws -> ConversationState? {
        if let state = states.withLockedValue({ $0[id] }) { return state }
        guard let row = try session.row("SELECT kind, title, created_at, head FROM conversation WHERE id = ?", .id(id)) else { return nil }
        let conversation = try Conversation(row, id: id)
        let members = try session.rows(
            "SELECT account, joined_seq, role FROM membership WHERE conversation = ? AND left_seq IS NULL", .id(id))
        let state = ConversationState(
            conversation: conversation, head: try row.seq(3), roster: Roster(try members.map(Member.init)))
        states.withLockedValue { $0[id] = state }
        return state
    }

    func entry(named name: EntryName, _ session: any SQLSession) throws -> Entry? {
        try session.row(
            "SELECT conversation, seq, id, sender, at, kind, body FROM entry WHERE conversation = ? AND sender = ? AND client_id = ?",
            .id(name.conversation), .id(name.sender), .text(name.clientID)
        ).map(Entry.init)
    }

    func audience(of id: ConversationID) async throws -> Audience? {
        if let state = states.withLockedValue({ $0[id] }) { return state.roster.audience }
        return try await database.onWriterQueue { try self.state(of: id, $0)?.roster.audience }
    }

    // MARK: Reading

    func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
        try await database.readSession { session in
            var entries: [Entry] = []
            var bytes = 0
            try session.forEachRow(
                """
                SELECT conversation, seq, id, sender, at, kind, body FROM entry
                WHERE conversation = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?
                """, [.id(conversation), .seq(range.lowerBound), .seq(range.upperBound), .count(limit)]
            ) { row in
                let entry = try Entry(row)
                bytes += entry.body.utf8.count
                if !entries.isEmpty && bytes > bytesMax { return false }
                entries.append(entry)
                return true
            }
            return entries
        }
    }

    func head(of conversation: ConversationID) async throws -> Seq {
        try await database.read { try $0.row("SELECT head FROM conversation WHERE id = ?", .id(conversation))?.seq(0) ?? 0 }
    }

    func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        try await database.readSession { session in
            let position = try Self.position(session)
            let since = since.rawValue > position.rawValue ? .start : since
            var heads: [ConversationHead] = []
            let rows = try session.rows(
                """
                SELECT m.conversation, m.joined_seq, m.left_seq, c.head, k.read_seq FROM membership m
                JOIN conversation c ON c.id = m.conversation
                LEFT JOIN mark k ON k.conversation = m.conversation AND k.account = m.account
                WHERE m.account = ? AND m.conversation > ? AND c.moved > ? ORDER BY m.conversation, m.joined_seq
                """, .id(account), .after(after), .integer(Int64(clamping: since.rawValue)))
            for row in rows {
                let conversation: ConversationID = try row.id(0)
                let left = row.isNull(2) ? try row.seq(3) : try row.seq(2)
                let head = ConversationHead(conversation: conversation, seq: left, read: row.isNull(4) ? 0 : try row.seq(4))
                if heads.last?.conversation == conversation {
                    heads[heads.count - 1] = head
                } else if heads.count == limit {
                    return HeadPage(heads: heads, position: position, next: heads.last?.conversation)
                } else {
                    heads.append(head)
                }
            }
            return HeadPage(heads: heads, position: position)
        }
    }

    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage {
        try await database.readSession { session in
            let position = try Self.position(session)
            let rows = try session.rows(
                "SELECT id, head, moved FROM conversation WHERE moved > ? ORDER BY moved LIMIT ?",
                .integer(Int64(clamping: since.rawValue)), .count(limit))
            let heads = try rows.map { ConversationHead(conversation: try $0.id(0), seq: try $0.seq(1)) }
            guard rows.count == limit, let last = rows.last else { return HeadPage(heads: heads, position: position) }
            return HeadPage(heads: heads, position: LogPosition(rawValue: try last.seq(2)))
        }
    }

    func position() async throws -> LogPosition {
        try await database.readSession(Self.position)
    }

    private static func position(_ session: SQLiteSession) throws -> LogPosition {
        let row = try session.row("SELECT MAX(position) FROM entry")
        return LogPosition(rawValue: try row.map { $0.isNull(0) ? 0 : try $0.seq(0) } ?? 0)
    }
}
