import ApusCore
import ApusProtocol
import GRDB
import NIOConcurrencyHelpers

/// ``EntryLog`` of the embedded store.
///
/// A commit writes rows to the end of one table without an index, `entry_log`. What is in that table and not yet in those for
/// reading is in memory too, so readers find it there; slices of it move over with later commits. The directory's lock makes
/// this process the only writer, so what is in memory is right.
final class SQLiteEntryLog: EntryLog, ConversationLog {
    /// What readers share with the writer. Changed only on the writer's queue, after a commit.
    struct Shared: Sendable {
        var recent = RecentEntries()
        var position: UInt64 = 0
        /// Conversations as they are after the last commit.
        var states: BoundedCache<ConversationID, ConversationState>
    }

    let database: SQLiteDatabase
    let shared: NIOLockedValueBox<Shared>
    private let membersMax: Int
    /// Used on the writer's queue only.
    private let writer: NIOLockedValueBox<WriterState>

    private struct WriterState: Sendable {
        var flush: LogFlush
        /// An append failed: whether it was committed after all is to be found out before the next.
        var isInDoubt = false
    }

    init(database: SQLiteDatabase, options: SQLiteStore.Options) throws {
        self.database = database
        membersMax = options.membersMax
        let flush = LogFlush(
            entriesMin: options.recentEntriesMin, bytesMin: options.recentBytesMin, sliceMin: options.flushSliceMin)
        writer = NIOLockedValueBox(WriterState(flush: flush))
        // A conversation costs some 500 bytes, a member about 80.
        let states = BoundedCache<ConversationID, ConversationState>(costMax: options.conversationCacheCost) { $0.roster.members.count + 6 }
        shared = NIOLockedValueBox(Shared(states: states))
        try database.onWriter { try load(SQLiteSession(database: $0)) }
    }

    /// Takes what is on disk as the truth.
    private func load(_ session: SQLiteSession) throws {
        let tables = LogTables(session: session)
        let recent = try tables.recentEntries()
        let position = try tables.lastPosition()
        let deletedThrough = try tables.deletedThrough()
        writer.withLockedValue { writer in
            writer.flush.state = .idle
            writer.flush.deletedThrough = deletedThrough
        }
        shared.withLockedValue { shared in
            shared.recent = recent
            shared.position = position
            shared.states.removeAll()
        }
    }

    // MARK: Appending

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        try database.onWriter { connection in
            let session = SQLiteSession(database: connection)
            try settleDoubt(session)
            var planned: (plan: AppendPlan, entries: [LoggedEntry], slice: FlushSlice)?
            var outcomes: [AppendOutcome] = []
            do {
                // The plan reads within the transaction: one lock instead of one for each entry.
                try connection.inTransaction(.immediate) {
                    let plan = try AppendPlan(batch, membersMax: membersMax, source: WriterSource(log: self, session: session))
                    outcomes = plan.outcomes
                    guard !plan.entries.isEmpty else { return .rollback }
                    let entries = logged(plan.entries)
                    let slice = nextSlice(appending: entries.count)
                    try write(plan, entries, slice, session)
                    planned = (plan, entries, slice)
                    return .commit
                }
            } catch {
                writer.withLockedValue { $0.isInDoubt = true }
                throw error
            }
            if let planned { publish(planned.plan, planned.entries, planned.slice) }
            return outcomes
        }
    }

    /// After a failed commit memory is right if nothing of it is on disk. Otherwise everything is loaded anew.
    private func settleDoubt(_ session: SQLiteSession) throws {
        guard writer.withLockedValue(\.isInDoubt) else { return }
        let position = try LogTables(session: session).lastPosition()
        if position != shared.withLockedValue(\.position) { try load(session) }
        writer.withLockedValue { $0.isInDoubt = false }
    }

    private func logged(_ planned: [PlannedEntry]) -> [LoggedEntry] {
        var position = shared.withLockedValue(\.position)
        return planned.map { planned in
            position += 1
            return LoggedEntry(position: position, clientID: planned.entry.clientID, entry: planned.entry.entry(seq: planned.seq))
        }
    }

    private func write(_ plan: AppendPlan, _ entries: [LoggedEntry], _ slice: FlushSlice, _ session: SQLiteSession) throws {
        for planned in plan.entries {
            try session.write(planned.effects, of: planned.entry.conversation, seq: planned.seq)
        }
        let tables = LogTables(session: session)
        try tables.append(entries)
        switch slice.work {
        case .none: break
        case .move(let entries): try tables.move(entries)
        case .delete(let after, let through): try tables.deleteLog(after: after, through: through)
        }
    }

    private func publish(_ plan: AppendPlan, _ entries: [LoggedEntry], _ slice: FlushSlice) {
        shared.withLockedValue { shared in
            for entry in entries { shared.recent.append(entry) }
            shared.position = entries.last?.position ?? shared.position
            for (id, state) in plan.states { shared.states.insert(state, for: id) }
            for (id, count) in slice.moved { shared.recent.removeFirst(count, of: id) }
        }
        writer.withLockedValue { writer in
            writer.flush.state = slice.next
            writer.flush.deletedThrough = slice.deletedThrough
        }
    }

    private func nextSlice(appending rows: Int) -> FlushSlice {
        writer.withLockedValue { writer in
            shared.withLockedValue { shared in
                FlushSlice(&writer.flush, appending: rows, to: shared.recent, end: shared.position)
            }
        }
    }

    // MARK: What is stored, for the writer

    struct WriterSource: AppendSource {
        let log: SQLiteEntryLog
        let session: SQLiteSession

        func state(of conversation: ConversationID) throws -> ConversationState? { try log.state(of: conversation, session) }
        func entry(named name: EntryName) throws -> Entry? { try log.entry(named: name, session) }
    }

    /// The conversation after the last commit; on the writer's queue only, where nothing can change meanwhile.
    func state(of id: ConversationID, _ session: SQLiteSession) throws -> ConversationState? {
        if let state = shared.withLockedValue({ $0.states.value(for: id) }) { return state }
        guard let row = try session.row("SELECT kind, title, created_at, head FROM conversation WHERE id = ?", .id(id)) else { return nil }
        let conversation = try Conversation(row, id: id)
        let head = try row.seq(3)
        let members = try session.rows(
            "SELECT account, joined_seq, role FROM membership WHERE conversation = ? AND left_seq IS NULL", .id(id))
        let ends = try session.row("SELECT MAX(joined_seq), MAX(left_seq) FROM membership WHERE conversation = ?", .id(id))
        let changed = try ends.map { max($0.isNull(0) ? 0 : try $0.seq(0), $0.isNull(1) ? 0 : try $0.seq(1)) }
        let roster = Roster(try members.map(Member.init), changed: changed ?? 0)
        return shared.withLockedValue { shared in
            let state = ConversationState(conversation: conversation, head: shared.recent.heads[id]?.seq ?? head, roster: roster)
            shared.states.insert(state, for: id)
            return state
        }
    }

    /// On the writer's queue only.
    func entry(named name: EntryName, _ session: SQLiteSession) throws -> Entry? {
        if let entry = shared.withLockedValue({ $0.recent.entry(named: name) }) { return entry }
        return try LogTables(session: session).entry(named: name)
    }

    func audience(of id: ConversationID) async throws -> Audience? {
        if let state = shared.withLockedValue({ $0.states.value(for: id) }) { return state.roster.audience }
        // On the writer's queue: a state that was read elsewhere may be old when it gets into the cache.
        return try await database.onWriterQueue { try self.state(of: id, $0)?.roster.audience }
    }
}
