import ApusCore
import ApusProtocol

/// Reads off the writer. Each takes what is recent first and its snapshot of the tables second: what left memory before the first
/// step was committed to the tables before the second, so nothing falls between; and what moves in between is seen in both,
/// which does no harm.
extension SQLiteEntryLog {
    func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
        let lower = max(1, range.lowerBound)
        guard limit > 0, lower <= range.upperBound else { return [] }
        let (first, recent) = shared.withLockedValue { shared in
            (shared.recent.firstSeq(of: conversation), shared.recent.entries(of: conversation, in: lower...range.upperBound, limit: limit))
        }
        var page = EntryPageBuilder(limit: limit, bytesMax: bytesMax)
        if lower < first ?? .max {
            let older = lower...min(range.upperBound, (first ?? .max) - 1)
            page = try await database.read { session in
                try LogTables(session: session).entries(of: conversation, in: older, limit: limit, bytesMax: bytesMax)
            }
            // Only where the tables gave all they have does the recent part come next.
            guard page.entries.last?.seq == older.upperBound else { return page.entries }
        }
        for entry in recent where !page.add(entry) { break }
        return page.entries
    }

    func head(of conversation: ConversationID) async throws -> Seq {
        if let head = shared.withLockedValue({ $0.recent.heads[conversation] }) { return head.seq }
        return try await database.read { try $0.row("SELECT head FROM conversation WHERE id = ?", .id(conversation))?.seq(0) ?? 0 }
    }

    func position() async throws -> LogPosition {
        LogPosition(rawValue: shared.withLockedValue(\.position))
    }

    func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        let (recent, position) = recentHeads()
        // A position from the time before a backup was restored says nothing.
        let since = since.rawValue > position ? 0 : since.rawValue
        return try await database.read { session in
            var pages = HeadPageBuilder(limit: limit)
            try session.forEachRow(
                """
                SELECT m.conversation, m.joined_seq, m.left_seq, c.head, c.moved, k.read_seq FROM membership m
                JOIN conversation c ON c.id = m.conversation
                LEFT JOIN mark k ON k.conversation = m.conversation AND k.account = m.account
                WHERE m.account = ? AND m.conversation > ? ORDER BY m.conversation, m.joined_seq
                """, [.id(account), .after(after)]
            ) { row in
                let id: ConversationID = try row.id(0)
                let stored = LogHead(seq: try row.seq(3), position: try row.seq(4))
                let head = max(recent[id] ?? stored, stored)
                guard head.position > since else { return true }
                let stay = try row.seq(1)...(row.isNull(2) ? .max : row.seq(2))
                return pages.add(stay, of: id, head: head.seq, read: row.isNull(5) ? 0 : try row.seq(5))
            }
            return pages.page(position: LogPosition(rawValue: position))
        }
    }

    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage {
        let (recent, position) = recentHeads()
        return try await database.read { session in
            var moved = recent.filter { $0.value.position > since.rawValue }
            // So many that those whose head is a recent one do not push others off the page.
            let rows = try session.rows(
                "SELECT id, head, moved FROM conversation WHERE moved > ? ORDER BY moved LIMIT ?",
                .seq(since.rawValue), .count(max(0, limit) + moved.count))
            for row in rows {
                let id: ConversationID = try row.id(0)
                if moved[id] == nil { moved[id] = LogHead(seq: try row.seq(1), position: try row.seq(2)) }
            }
            let sorted = moved.sorted { $0.value < $1.value }
            let heads = sorted.prefix(max(0, limit))
            // Not beyond the position taken first: what came after that is not in `recent`.
            let last = sorted.count > heads.count ? min(heads.last?.value.position ?? since.rawValue, position) : position
            return HeadPage(
                heads: heads.map { ConversationHead(conversation: $0.key, seq: $0.value.seq) }, position: LogPosition(rawValue: last))
        }
    }

    func unwrittenHeads() -> [ConversationID: LogHead] { recentHeads().heads }

    /// The heads that may be missing in the tables.
    func recentHeads() -> (heads: [ConversationID: LogHead], position: UInt64) {
        shared.withLockedValue { ($0.recent.heads, $0.position) }
    }
}
