import ApusProtocol
import Foundation
import GRDB

extension LocalStore {
    // MARK: Outbox

    enum Appended: Sendable {
        case added(OutboxItem)
        /// The same message waits already.
        case present(OutboxItem)
    }

    /// - Throws: ``ApusError`` `conflict` when another message of this name waits, or this one waits in another client's hands.
    func append(_ frame: SendFrame, owner: String) async throws -> Appended {
        try await write { db in
            let row = try Row.fetchOne(
                db, sql: "SELECT * FROM outbox WHERE conversation = ? AND client_id = ?",
                arguments: [frame.conversation.stored, frame.clientID])
            if let row {
                let present = OutboxItem(row: row)
                guard row["owner"] == owner, present.frame == frame else {
                    throw ApusError(.conflict, "another message with the client id \(frame.clientID) waits in the outbox")
                }
                return .present(present)
            }
            try db.run(
                "INSERT INTO outbox (owner, conversation, client_id, kind, body, deliver_at) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    owner, frame.conversation.stored, frame.clientID, frame.kind.rawValue, frame.body, frame.deliverAt?.milliseconds,
                ])
            return .added(
                OutboxItem(
                    position: db.lastInsertedRowID, conversation: frame.conversation, clientID: frame.clientID, kind: frame.kind,
                    body: frame.body, deliverAt: frame.deliverAt))
        }
    }

    /// Takes over what clients that have ended left behind. Returns what is new to this one, in order.
    func adopt(into owner: OutboxOwner, limit: Int) async throws -> [OutboxItem] {
        try await write { db in
            var adopted: [OutboxItem] = []
            let owners = try String.fetchAll(db, sql: "SELECT DISTINCT owner FROM outbox WHERE owner <> ?", arguments: [owner.name])
            try owner.forEachDead(of: owners) { dead in
                guard adopted.count < limit else { return }
                adopted += try Row.fetchAll(db, sql: "SELECT * FROM outbox WHERE owner = ?", arguments: [dead]).map(OutboxItem.init(row:))
                try db.run("UPDATE outbox SET owner = ? WHERE owner = ?", [owner.name, dead])
            }
            return adopted.sorted { $0.position < $1.position }
        }
    }

    // MARK: Profile

    func syncToken() async throws -> String {
        try await read { db in try Self.profile("sync_token", db) ?? "" }
    }

    /// Whose data this is; another account's is removed, its unsent messages with it. Returns whether it was another's.
    func claim(for account: AccountID) async throws -> Bool {
        try await write { db in
            let previous = try Self.profile("account", db)
            guard previous != account.description else { return false }
            if previous != nil {
                for table in ["profile", "conversation", "entry", "mark", "outbox"] { try db.execute(sql: "DELETE FROM \(table)") }
            }
            try Self.setProfile("account", account.description, db)
            return previous != nil
        }
    }

    private static func profile(_ key: String, _ db: Database) throws -> String? {
        try String.fetchOne(db, sql: "SELECT value FROM profile WHERE key = ?", arguments: [key])
    }

    static func setProfile(_ key: String, _ value: String, _ db: Database) throws {
        try db.run("INSERT OR REPLACE INTO profile VALUES (?, ?)", [key, value])
    }
}

extension OutboxItem {
    init(row: Row) {
        let deliverAt: Int64? = row["deliver_at"]
        self.init(
            position: row["position"], conversation: ConversationID(stored: row["conversation"]), clientID: row["client_id"],
            kind: EntryKind(rawValue: row["kind"]), body: row["body"], deliverAt: deliverAt.map(Timestamp.init(milliseconds:)))
    }
}
