import ApusProtocol
import Foundation
import GRDB

extension LocalStore {
    // MARK: What comes from the server

    /// Where the readers of a client that starts now stand.
    func readers() async throws -> [ConversationID: ConversationReader] {
        try await read { db in
            var readers: [ConversationID: ConversationReader] = [:]
            let rows = try Row.fetchCursor(db, sql: "SELECT id, cursor, head FROM conversation WHERE cursor > 0 OR head > 0")
            while let row = try rows.next() {
                readers[ConversationID(stored: row[0])] = ConversationReader(cursor: Seq(stored: row[1]), head: Seq(stored: row[2]))
            }
            return readers
        }
    }

    /// All of it or nothing, in order.
    func commit(_ changes: [Change]) async throws {
        try await write { db in
            for change in changes { try Self.apply(change, db) }
        }
    }

    private static func apply(_ change: Change, _ db: Database) throws {
        switch change {
        case .deliver(let conversation, let after, let through, let entries):
            for entry in entries { try insert(entry, db) }
            try touch(conversation, db)
            // Another client of this directory may be ahead, or have started over: the cursor never jumps over a hole.
            try db.run(
                "UPDATE conversation SET cursor = max(cursor, ?1), head = max(head, ?1) WHERE id = ?2 AND cursor >= ?3",
                [through.stored, conversation.stored, after.stored])
        case .restart(let conversation, let first):
            try touch(conversation, db)
            try db.run("DELETE FROM entry WHERE conversation = ?", [conversation.stored])
            let cursor = (max(first, 1) - 1).stored
            try db.run("UPDATE conversation SET cursor = ?1, head = max(head, ?1) WHERE id = ?2", [cursor, conversation.stored])
        case .head(let conversation, let seq, let read):
            try touch(conversation, db)
            try db.run(
                """
                UPDATE conversation SET head = max(head, ?1), read = max(read, ?2), read_confirmed = max(read_confirmed, ?2)
                WHERE id = ?3
                """, [seq.stored, read.stored, conversation.stored])
        case .syncToken(let token):
            try setProfile("sync_token", token, db)
        case .marks(let marks):
            try db.run(
                """
                INSERT INTO mark VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT DO UPDATE SET read = max(read, ?3), delivered = max(delivered, ?4)
                """, [marks.conversation.stored, marks.account.stored, marks.read.stored, marks.delivered.stored])
        case .sent(let conversation, let clientID):
            try db.run("DELETE FROM outbox WHERE conversation = ? AND client_id = ?", [conversation.stored, clientID])
        case .readConfirmed(let conversation, let through):
            try db.run(
                "UPDATE conversation SET read_confirmed = max(read_confirmed, ?1), read = max(read, ?1) WHERE id = ?2",
                [through.stored, conversation.stored])
        }
    }

    private static func insert(_ entry: Entry, _ db: Database) throws {
        try db.run(
            "INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                entry.conversation.stored, entry.seq.stored, entry.id.stored, entry.sender.stored, entry.at.milliseconds,
                entry.kind.rawValue, entry.body,
            ])
    }

    private static func touch(_ conversation: ConversationID, _ db: Database) throws {
        try db.run("INSERT OR IGNORE INTO conversation (id) VALUES (?)", [conversation.stored])
    }

    // MARK: Marks of this account

    func markRead(_ conversation: ConversationID, through seq: Seq) async throws {
        try await write { db in
            try Self.touch(conversation, db)
            try db.run("UPDATE conversation SET read = max(read, ?) WHERE id = ?", [seq.stored, conversation.stored])
        }
    }

    /// Read marks that the server may not have.
    func unconfirmedReads() async throws -> [(ConversationID, Seq)] {
        try await read { db in
            try Row.fetchAll(db, sql: "SELECT id, read FROM conversation WHERE read > read_confirmed").map { row in
                (ConversationID(stored: row[0]), Seq(stored: row[1]))
            }
        }
    }

    // MARK: Reading

    func entries(of conversation: ConversationID, from: Seq, limit: Int) async throws -> [Entry] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM entry WHERE conversation = ? AND seq >= ? ORDER BY seq LIMIT ?",
                arguments: [conversation.stored, from.stored, limit]
            ).map(Entry.init(row:))
        }
    }

    func entries(of conversation: ConversationID, before: Seq, limit: Int) async throws -> [Entry] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM entry WHERE conversation = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
                arguments: [conversation.stored, before.stored, limit]
            ).map(Entry.init(row:)).reversed()
        }
    }

    func search(_ keyword: String, in conversation: ConversationID?, limit: Int) async throws -> [Entry] {
        let pattern = "%" + keyword.replacing(/[\\%_]/) { "\\" + $0.output } + "%"
        return try await read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM entry
                    WHERE kind = 'text' AND body LIKE ?1 ESCAPE '\\' AND (?2 IS NULL OR conversation = ?2) ORDER BY at DESC, seq DESC LIMIT ?3
                    """, arguments: [pattern, conversation?.stored, limit]
            ).map(Entry.init(row:))
        }
    }

    func marks(of conversation: ConversationID) async throws -> [ReadMarks] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT account, read, delivered FROM mark WHERE conversation = ? ORDER BY account",
                arguments: [conversation.stored]
            ).map {
                ReadMarks(
                    conversation: conversation, account: AccountID(stored: $0[0]), read: Seq(stored: $0[1]), delivered: Seq(stored: $0[2]))
            }
        }
    }

    /// - Parameters:
    ///   - id: nil: all.
    ///   - account: whose own entries do not count as unread.
    func conversations(_ id: ConversationID?, of account: AccountID?) async throws -> [LocalConversation] {
        try await read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT id, cursor, head, read, info,
                        (SELECT count(*) FROM entry
                         WHERE conversation = c.id AND seq > c.read AND kind <> 'system' AND sender IS NOT ?1)
                    FROM conversation c WHERE ?2 IS NULL OR id = ?2 ORDER BY id
                    """, arguments: [account?.stored, id?.stored]
            ).map { row in
                let info: String? = row[4]
                return LocalConversation(
                    id: ConversationID(stored: row[0]), cursor: Seq(stored: row[1]), head: Seq(stored: row[2]), read: Seq(stored: row[3]),
                    unread: row[5], info: try info.map { try JSONDecoder().decode(ConversationInfo.self, from: Data($0.utf8)) })
            }
        }
    }

    /// Remembers titles, kinds and peers.
    func save(_ infos: [ConversationInfo]) async throws {
        try await write { db in
            for info in infos {
                try Self.touch(info.id, db)
                let json = String(decoding: try JSONEncoder().encode(info), as: UTF8.self)
                try db.run("UPDATE conversation SET info = ? WHERE id = ?", [json, info.id.stored])
            }
        }
    }
}

extension Entry {
    fileprivate init(row: Row) {
        self.init(
            conversation: ConversationID(stored: row["conversation"]), seq: Seq(stored: row["seq"]), id: EntryID(stored: row["id"]),
            sender: AccountID(stored: row["sender"]), at: Timestamp(milliseconds: row["at"]),
            kind: EntryKind(rawValue: row["kind"]), body: row["body"])
    }
}
