#if Cluster
import ApusCore
import ApusProtocol

/// ``EntryLog`` of a cluster: any number of nodes append at once.
///
/// **Positions.** There is no one counter that all commits pass through; they would have to wait for each other. A position is a time
/// instead: the statement that ends an append stamps its heads (`moved`) with the clock of the database, in microseconds.
/// A stamp is not the moment of the commit, so a transaction may show up after another one with a later stamp was seen.
/// Therefore a position is the newest stamp that was seen, and a read since a position looks back before it by `lateCommitMax`.
/// Nothing is missed:
///
/// - Let a reader's snapshot see N as the newest stamp, and let a transaction T be committed after that snapshot. N was
///   stamped before the snapshot, so N is not later than the time of the snapshot.
/// - T's stamp is made by the server in the statement before its COMMIT, and both reach the server as one text: no network, no
///   stopped node and no lock lies between them (T has held the rows' locks since its first statement). So T is visible
///   less than `lateCommitMax` after its stamp, or the server itself stood still in between.
/// - T became visible after the snapshot, so its stamp is later than the time of the snapshot minus `lateCommitMax`, and so
///   later than N - `lateCommitMax`: the next read since N finds T. So does one since a stamp before N, where a page was cut.
///
/// The price: heads that moved less than `lateCommitMax` before the position are reported again. Positions need one clock that goes
/// forward. When that of the database is set back, or another server takes over whose clock is behind, stamps go on
/// after the newest one that the node has seen (its own sweep shows it every few seconds) and after that of the conversation.
struct MySQLEntryLog: EntryLog, ConversationLog {
    /// The time at the beginning of a statement.
    static let nowStamp = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"
    /// Entries that are read at once: their bodies may turn out to be too large for the page.
    private static let rowsMax = 128

    let driver: MySQLDriver
    let appender: MySQLAppender
    private static let headsLookedBackMax = 100_000
    /// Microseconds.
    private let lateCommitMax: UInt64

    init(driver: MySQLDriver, appender: MySQLAppender, configuration: MySQLConfiguration) {
        self.driver = driver
        self.appender = appender
        lateCommitMax = UInt64(clamping: configuration.lateCommitMax.microseconds)
    }

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] { try appender.append(batch) }

    // MARK: Reading entries

    func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
        let lower = max(1, range.lowerBound)
        guard limit > 0, lower <= range.upperBound else { return [] }
        return try await driver.read { session in
            var page = EntryPageBuilder(limit: limit, bytesMax: bytesMax)
            var next = lower
            while !page.isFull, page.entries.count < limit {
                let rows = try session.rows(
                    """
                    SELECT conversation, seq, id, sender, at, kind, body FROM entry
                    WHERE conversation = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?
                    """, .id(conversation), .seq(next), .seq(range.upperBound), .count(min(Self.rowsMax, limit - page.entries.count)))
                for row in rows { page.add(try Entry(row)) }
                guard let last = page.entries.last, rows.count == Self.rowsMax else { break }
                next = last.seq + 1
            }
            return page.entries
        }
    }

    func head(of conversation: ConversationID) async throws -> Seq {
        try await driver.read { try $0.row("SELECT head FROM conversation WHERE id = ?", .id(conversation))?.seq(0) ?? 0 }
    }

    // MARK: Members

    /// A commit writes the tables at once.
    func unwrittenHeads() -> [ConversationID: LogHead] { [:] }

    func audience(of id: ConversationID) async throws -> Audience? {
        try await driver.read { [rosters = appender.rosters] session in
            guard let row = try session.row("SELECT roster_seq FROM conversation WHERE id = ?", .id(id)) else { return nil }
            return try rosters.rosters(of: [(id, rosterSeq: row.seq(0))], session)[id]?.audience
        }
    }

    // MARK: Heads

    func position() async throws -> LogPosition {
        try await driver.read { LogPosition(rawValue: try newestStamp($0)) }
    }

    func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        try await driver.read { session in
            let newest = try newestStamp(session)
            // A position from the time before a backup was restored says nothing.
            let since = since.rawValue > newest ? 0 : lookBack(from: since)
            let rows = try session.rows(
                """
                SELECT m.conversation, m.joined_seq, m.left_seq, c.head, k.read_seq FROM (
                    SELECT DISTINCT s.conversation FROM membership s JOIN conversation h ON h.id = s.conversation
                    WHERE s.account = ? AND s.conversation > ? AND h.moved > ? ORDER BY s.conversation LIMIT ?
                ) p
                JOIN membership m ON m.conversation = p.conversation AND m.account = ?
                JOIN conversation c ON c.id = p.conversation
                LEFT JOIN mark k ON k.conversation = p.conversation AND k.account = ?
                ORDER BY m.conversation, m.joined_seq
                """, .id(account), .after(after), .seq(since), .count(max(0, limit) + 1), .id(account), .id(account))
            var page = HeadPageBuilder(limit: max(0, limit))
            for row in rows {
                let stay = try row.seq(1)...(row.isNull(2) ? .max : row.seq(2))
                guard page.add(stay, of: try row.id(0), head: try row.seq(3), read: row.isNull(4) ? 0 : try row.seq(4)) else { break }
            }
            return page.page(position: LogPosition(rawValue: newest))
        }
    }

    /// The `limit` is for heads that moved after the position; those that are looked back for come before them.
    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage {
        try await driver.read { session in
            var end = try newestStamp(session)
            let columns = "SELECT id, head, moved FROM conversation"
            var heads = try session.rows(
                "\(columns) WHERE moved > ? AND moved <= ? ORDER BY moved, id LIMIT ?",
                .seq(lookBack(from: since)), .seq(since.rawValue), .count(Self.headsLookedBackMax))
            let moved = try session.rows(
                "\(columns) WHERE moved > ? ORDER BY moved, id LIMIT ?", .seq(since.rawValue), .count(max(0, limit) + 1))
            // A cut page goes on at the first head that it leaves out; one with the same stamp from another node comes again.
            if moved.count > limit, let rest = moved.last { end = try rest.seq(2) - 1 }
            heads += moved.prefix(max(0, limit))
            return HeadPage(
                heads: try heads.map { ConversationHead(conversation: try $0.id(0), seq: try $0.seq(1)) },
                position: LogPosition(rawValue: end))
        }
    }

    /// Of the heads that the transaction of the session sees.
    private func newestStamp(_ session: MySQLSession) throws -> UInt64 {
        let newest = try session.row("SELECT COALESCE(MAX(moved), 0) FROM conversation")?.integer(0) ?? 0
        appender.noteStamp(newest)
        return UInt64(clamping: newest)
    }

    private func lookBack(from since: LogPosition) -> UInt64 {
        since.rawValue > lateCommitMax ? since.rawValue - lateCommitMax : 0
    }
}
#endif
