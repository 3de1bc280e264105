#if Cluster
import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers

/// Writes batches of entries, on a connection of its own. Many nodes do so at the same time, in the same conversations.
///
/// One transaction in three round trips: lock the rows of the conversations, in ascending order, so that nodes wait for each other and
/// never in a circle; insert the entries; stamp the heads and commit. What a batch comes to is decided between the first two,
/// by rows that nobody else can change until the commit.
///
/// Names: that an entry of the batch is new is what the unique key says when it is inserted, at no cost. Only when that fails, or when
/// an entry is to be refused (it may be a repetition of one that was accepted), the batch begins again and looks all of its
/// names up.
final class MySQLAppender: Sendable {
    /// Rows of entries in one statement; for each number of rows one stays prepared.
    private static let rowsMax = 128
    /// Bodies in one statement: a server takes packets of 16 MB and more.
    private static let rowBytesMax = 4 << 20
    private static let attemptsMax = 5

    let rosters: RosterCache
    private let slot: MySQLSlot
    let membersMax: LiveSetting<Int>
    /// One batch at a time.
    private let turn = NIOLock()
    /// The largest stamp of a head that this node knows of; see ``MySQLEntryLog``.
    private let newestStamp = NIOLockedValueBox<Int64>(0)
    private let isClosed = NIOLockedValueBox(false)

    init(_ configuration: MySQLConfiguration) {
        slot = MySQLSlot(configuration, .append)
        membersMax = LiveSetting(configuration.membersMax)
        rosters = RosterCache(costMax: configuration.rosterCacheCost)
    }

    func close() {
        turn.withLock {
            isClosed.withLockedValue { $0 = true }
            slot.close()
        }
    }

    func noteStamp(_ stamp: Int64) { newestStamp.withLockedValue { $0 = max($0, stamp) } }

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        guard !batch.isEmpty else { return [] }
        return try turn.withLock {
            guard !isClosed.withLockedValue({ $0 }) else { throw ApusError(.storeUnavailable, "the store is closed") }
            for attempt in 0..<Self.attemptsMax {
                do {
                    if let outcomes = try append(batch, lookingUpNames: attempt > 0) { return outcomes }
                } catch is SQLUniqueViolation {
                    // A name that is in use; or a new conversation that another node was faster with, and its row is there now.
                }
            }
            throw ApusError(.storeUnavailable, "other nodes make the same conversations")
        }
    }

    /// Nil: names must be looked up, and nothing was done.
    private func append(_ batch: [NewEntry], lookingUpNames: Bool) throws -> [AppendOutcome]? {
        let plan = try slot.transaction(commit: commit) { session -> AppendPlan? in
            let source = try StoredState(of: batch, lookingUpNames: lookingUpNames, rosters, session)
            let plan = try AppendPlan(batch, membersMax: membersMax.value, source: source)
            guard lookingUpNames || !plan.hasRefusals else { return nil }
            for planned in plan.entries {
                try session.write(planned.effects, of: planned.entry.conversation, seq: planned.seq)
            }
            var rest = plan.entries[...]
            while !rest.isEmpty {
                let some = Self.nextRows(of: rest)
                try Self.insert(some, session)
                rest = rest[some.endIndex...]
            }
            return plan
        }
        guard let plan else { return nil }
        for state in plan.states.values { rosters.insert(state.roster, of: state.conversation.id) }
        return plan.outcomes
    }

    /// At least one.
    private static func nextRows(of entries: ArraySlice<PlannedEntry>) -> ArraySlice<PlannedEntry> {
        var bytes = 0
        return entries.prefix(rowsMax).prefix { planned in
            defer { bytes += planned.entry.body.utf8.count }
            return bytes == 0 || bytes + planned.entry.body.utf8.count <= rowBytesMax
        }
    }

    private static func insert(_ entries: ArraySlice<PlannedEntry>, _ session: MySQLSession) throws {
        var values: [SQLValue] = []
        values.reserveCapacity(entries.count * 8)
        for planned in entries {
            let entry = planned.entry
            values += [
                .id(entry.conversation), .seq(planned.seq), .id(entry.id), .id(entry.sender), .text(entry.clientID), .time(entry.at),
                .text(entry.kind.rawValue), .text(entry.body),
            ]
        }
        let rows = repeatElement("(?, ?, ?, ?, ?, ?, ?, ?)", count: entries.count).joined(separator: ", ")
        try session.execute(
            "INSERT INTO entry (conversation, seq, id, sender, client_id, at, kind, body) VALUES \(rows)", values: values)
    }

    /// The heads and the commit go to the server as one piece of text, so that nothing that happens to this node comes between the
    /// stamp and the commit. There are only integers in it.
    private func commit(_ plan: AppendPlan?, _ session: MySQLSession) throws {
        guard let plan, !plan.states.isEmpty else { return try session.connection.run("ROLLBACK") }
        let rows = plan.inOrderOfHeads.enumerated().compactMap { place, id -> String? in
            guard let state = plan.states[id] else { return nil }
            let number = Int64(bitPattern: id.rawValue)
            return "(\(number), '', '', 0, 0, \(state.head), \(place + 1), \(state.roster.audience.rosterSeq))"
        }
        // An upsert is how MySQL updates many rows at once; all of them exist.
        try session.connection.run(
            """
            INSERT INTO conversation (id, kind, title, created_at, member_count, head, moved, roster_seq)
            VALUES \(rows.joined(separator: ", "))
            ON DUPLICATE KEY UPDATE head = VALUES(head), roster_seq = VALUES(roster_seq),
            moved = VALUES(moved) + GREATEST(moved, \(newestStamp.withLockedValue { $0 }), \(MySQLEntryLog.nowStamp)); COMMIT
            """)
    }
}

extension AppendPlan {
    fileprivate var hasRefusals: Bool {
        outcomes.contains { if case .refused = $0 { true } else { false } }
    }

    /// The conversations by the places of their last entries: stamps are in the order of the log.
    fileprivate var inOrderOfHeads: [ConversationID] {
        var seen: Set<ConversationID> = []
        return entries.reversed().map(\.entry.conversation).filter { seen.insert($0).inserted }.reversed()
    }
}

/// What the store holds of the conversations of a batch. Their rows are locked until the end of the transaction.
private struct StoredState: AppendSource {
    private var states: [ConversationID: ConversationState] = [:]
    private var entries: [EntryName: Entry] = [:]

    init(of batch: [NewEntry], lookingUpNames: Bool, _ rosters: RosterCache, _ session: MySQLSession) throws {
        let ids = Set(batch.map(\.conversation)).sorted()
        let places = ids.paddedToPowerOfTwo
        // By the primary key whatever the optimizer thinks of it: the rows are locked in its order, and no others.
        let rows = try session.rows(
            """
            SELECT kind, title, created_at, id, head, roster_seq FROM conversation FORCE INDEX (PRIMARY)
            WHERE id IN (\(places.marks)) ORDER BY id FOR UPDATE
            """, values: places.map(SQLValue.id))
        let stored = try rows.map { row in
            (conversation: try Conversation(row, id: row.id(3)), head: try row.seq(4), rosterSeq: try row.seq(5))
        }
        let members = try rosters.rosters(of: stored.map { ($0.conversation.id, $0.rosterSeq) }, session)
        for (conversation, head, _) in stored {
            let roster = members[conversation.id] ?? Roster([], changed: 0)
            states[conversation.id] = ConversationState(conversation: conversation, head: head, roster: roster)
        }
        guard lookingUpNames else { return }
        let names = Set(batch.map(\.name)).filter { states[$0.conversation]?.head ?? 0 > 0 }
        entries = try session.entries(named: Array(names))
    }

    func state(of conversation: ConversationID) -> ConversationState? { states[conversation] }
    func entry(named name: EntryName) -> Entry? { entries[name] }
}

extension MySQLSession {
    private static var namesMax: Int { 64 }

    func entries(named names: [EntryName]) throws -> [EntryName: Entry] {
        var found: [EntryName: Entry] = [:]
        for start in stride(from: 0, to: names.count, by: Self.namesMax) {
            let some = Array(names[start..<min(start + Self.namesMax, names.count)]).paddedToPowerOfTwo
            let places = repeatElement("(conversation = ? AND client_id = ? AND sender = ?)", count: some.count)
            let rows = try rows(
                """
                SELECT conversation, seq, id, sender, at, kind, body, client_id FROM entry
                WHERE \(places.joined(separator: " OR "))
                """, values: some.flatMap { [.id($0.conversation), .text($0.clientID), .id($0.sender)] })
            for row in rows {
                let entry = try Entry(row)
                found[EntryName(conversation: entry.conversation, sender: entry.sender, clientID: try row.text(7))] = entry
            }
        }
        return found
    }
}

extension Entry {
    /// From the columns conversation, seq, id, sender, at, kind, body.
    init(_ row: SQLRow) throws {
        self.init(
            conversation: try row.id(0), seq: try row.seq(1), id: try row.id(2), sender: try row.id(3), at: try row.time(4),
            kind: EntryKind(rawValue: try row.text(5)), body: try row.text(6))
    }
}

extension Array {
    /// The last one repeated: a handful of statements to prepare instead of one for each number.
    var paddedToPowerOfTwo: [Element] {
        guard let last else { return self }
        var padded = self
        while padded.count & (padded.count - 1) != 0 { padded.append(last) }
        return padded
    }

    /// A question mark for each.
    var marks: String { repeatElement("?", count: count).joined(separator: ", ") }
}
#endif
