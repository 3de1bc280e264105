import ApusCore
import ApusProtocol

/// The tables of the log, on one connection. Docs/decisions/0002-entry-table-shape.md says why they are these.
struct LogTables {
    let session: SQLiteSession

    static let names: Set<String> = ["entry_log", "entry", "entry_name"]

    static let schema = [
        // What a commit writes: rows in the order of commit, no index. Entries leave it for the two tables below.
        """
        CREATE TABLE entry_log (
            position INTEGER PRIMARY KEY,
            conversation INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            sender INTEGER NOT NULL,
            client_id TEXT NOT NULL,
            id INTEGER NOT NULL,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE entry (
            conversation INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            id INTEGER NOT NULL,
            sender INTEGER NOT NULL,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (conversation, seq)
        ) WITHOUT ROWID
        """,
        // The client's id before the sender: ids that grow with time then go to one place of a conversation, not to one for each
        // sender.
        """
        CREATE TABLE entry_name (
            conversation INTEGER NOT NULL,
            client_id TEXT NOT NULL,
            sender INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (conversation, client_id, sender)
        ) WITHOUT ROWID
        """,
    ]

    // MARK: The commit log

    func append(_ entries: [LoggedEntry]) throws {
        let insert = try SQLiteStatement(
            cached: """
                INSERT INTO entry_log (position, conversation, seq, sender, client_id, id, at, kind, body)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """, session.database)
        for logged in entries {
            let entry = logged.entry
            try insert.bind(logged.position, at: 1)
            try insert.bind(entry.conversation.rawValue, at: 2)
            try insert.bind(entry.seq, at: 3)
            try insert.bind(entry.sender.rawValue, at: 4)
            try insert.bind(logged.clientID, at: 5)
            try insert.bind(entry.id.rawValue, at: 6)
            try insert.bind(entry.at.milliseconds, at: 7)
            try insert.bind(entry.kind.rawValue, at: 8)
            try insert.bind(entry.body, at: 9)
            try insert.run()
        }
    }

    /// The position of the last entry that was ever appended.
    func lastPosition() throws -> UInt64 {
        let logged = try session.row("SELECT COALESCE(MAX(position), 0) FROM entry_log")
        let moved = try session.row("SELECT COALESCE(MAX(moved), 0) FROM conversation")
        return max(try logged?.seq(0) ?? 0, try moved?.seq(0) ?? 0)
    }

    /// The entries that are in the log only.
    func recentEntries() throws -> RecentEntries {
        var recent = RecentEntries()
        let select = try SQLiteStatement(
            cached: """
                SELECT l.position, l.conversation, l.seq, l.sender, l.client_id, l.id, l.at, l.kind, l.body
                FROM entry_log l JOIN conversation c ON c.id = l.conversation WHERE l.seq > c.head ORDER BY l.position
                """, session.database)
        try select.forEachRow {
            let entry = Entry(
                conversation: ConversationID(select.unsigned(1)), seq: select.unsigned(2), id: EntryID(select.unsigned(5)),
                sender: AccountID(select.unsigned(3)), at: Timestamp(milliseconds: select.integer(6)),
                kind: EntryKind(rawValue: select.text(7)), body: select.text(8))
            recent.append(LoggedEntry(position: select.unsigned(0), clientID: select.text(4), entry: entry))
            return true
        }
        return recent
    }

    /// All rows of the log up to here are deleted.
    func deletedThrough() throws -> UInt64 {
        guard let row = try session.row("SELECT MIN(position) FROM entry_log"), !row.isNull(0) else { return try lastPosition() }
        return try row.seq(0) - 1
    }

    /// Deletes rows after a position up to another.
    func deleteLog(after: UInt64, through: UInt64) throws {
        try session.execute("DELETE FROM entry_log WHERE position > ? AND position <= ?", .seq(after), .seq(through))
    }

    // MARK: The tables for reading

    /// Moves the oldest recent entries of some conversations: `entries` are ascending by conversation and seq. May be repeated.
    func move(_ entries: [LoggedEntry]) throws {
        let insert = try SQLiteStatement(
            cached: "INSERT OR IGNORE INTO entry (conversation, seq, id, sender, at, kind, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            session.database)
        for logged in entries {
            let entry = logged.entry
            try insert.bind(entry.conversation.rawValue, at: 1)
            try insert.bind(entry.seq, at: 2)
            try insert.bind(entry.id.rawValue, at: 3)
            try insert.bind(entry.sender.rawValue, at: 4)
            try insert.bind(entry.at.milliseconds, at: 5)
            try insert.bind(entry.kind.rawValue, at: 6)
            try insert.bind(entry.body, at: 7)
            try insert.run()
        }
        try insertNames(of: entries)
        for (index, last) in entries.enumerated() where entries[safe: index + 1]?.entry.conversation != last.entry.conversation {
            try session.execute(
                "UPDATE conversation SET head = ?, moved = ? WHERE id = ?",
                .seq(last.entry.seq), .seq(last.position), .id(last.entry.conversation))
        }
    }

    private func insertNames(of entries: [LoggedEntry]) throws {
        let insert = try SQLiteStatement(
            cached: "INSERT OR IGNORE INTO entry_name (conversation, client_id, sender, seq) VALUES (?, ?, ?, ?)", session.database)
        // In the order of the key: neighbours share pages.
        let sorted = entries.sorted { ($0.entry.conversation, $0.clientID) < ($1.entry.conversation, $1.clientID) }
        for logged in sorted {
            try insert.bind(logged.entry.conversation.rawValue, at: 1)
            try insert.bind(logged.clientID, at: 2)
            try insert.bind(logged.entry.sender.rawValue, at: 3)
            try insert.bind(logged.entry.seq, at: 4)
            try insert.run()
        }
    }

    func entry(named name: EntryName) throws -> Entry? {
        let find = try SQLiteStatement(
            cached: "SELECT seq FROM entry_name WHERE conversation = ? AND client_id = ? AND sender = ?", session.database)
        try find.bind(name.conversation.rawValue, at: 1)
        try find.bind(name.clientID, at: 2)
        try find.bind(name.sender.rawValue, at: 3)
        var seq: Seq?
        try find.forEachRow {
            seq = find.unsigned(0)
            return false
        }
        guard let seq else { return nil }
        return try entries(of: name.conversation, in: seq...seq, limit: 1, bytesMax: 0).entries.first
    }

    func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) throws -> EntryPageBuilder {
        let select = try SQLiteStatement(
            cached: """
                SELECT seq, id, sender, at, kind, body FROM entry WHERE conversation = ? AND seq BETWEEN ? AND ?
                ORDER BY seq LIMIT ?
                """, session.database)
        try select.bind(conversation.rawValue, at: 1)
        try select.bind(Int64(clamping: range.lowerBound), at: 2)
        try select.bind(Int64(clamping: range.upperBound), at: 3)
        try select.bind(Int64(limit), at: 4)
        var page = EntryPageBuilder(limit: limit, bytesMax: bytesMax)
        try select.forEachRow {
            page.add(
                Entry(
                    conversation: conversation, seq: select.unsigned(0), id: EntryID(select.unsigned(1)),
                    sender: AccountID(select.unsigned(2)),
                    at: Timestamp(milliseconds: select.integer(3)), kind: EntryKind(rawValue: select.text(4)), body: select.text(5)))
        }
        return page
    }
}

extension Array {
    fileprivate subscript(safe index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
