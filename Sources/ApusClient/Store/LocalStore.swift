import ApusProtocol
import Foundation
import GRDB

/// What a client knows, in SQLite: entries, cursors, marks, and the outbox. Safe to share between processes: every change holds
/// whatever another client wrote in between.
final class LocalStore: Sendable {
    /// A change that came from the server.
    enum Change: Sendable, Equatable {
        case deliver(ConversationID, after: Seq, through: Seq, entries: [Entry])
        case restart(ConversationID, first: Seq)
        case head(ConversationID, seq: Seq, read: Seq)
        case syncToken(String)
        case marks(ReadMarks)
        /// The message left the outbox.
        case sent(ConversationID, clientID: String)
        /// The server has this account's read mark.
        case readConfirmed(ConversationID, through: Seq)
    }

    let database: any DatabaseWriter

    /// - Parameter directory: nil: in memory.
    init(directory: URL?) throws {
        do {
            guard let directory else {
                database = try DatabaseQueue()
                try Self.migrator.migrate(database)
                return
            }
            try FileManager.default.createDirectory(
                at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            // Two clients that start at the same time would both make the tables.
            let lock = try FileLock.acquireBlocking(directory.appending(path: "store.lock").path, timeout: .seconds(10))
            var configuration = Configuration()
            configuration.busyMode = .timeout(5)
            let pool = try DatabasePool(path: directory.appending(path: "store.sqlite").path, configuration: configuration)
            try Self.migrator.migrate(pool)
            database = pool
            withExtendedLifetime(lock) {}
        } catch {
            throw ApusError(.localStore, "the local store cannot be opened", cause: error)
        }
    }

    func close() throws { try database.close() }

    /// - Throws: ``ApusError`` `local_store`.
    func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        do { return try await database.write(body) } catch { throw Self.error(error) }
    }

    func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        do { return try await database.read(body) } catch { throw Self.error(error) }
    }

    private static func error(_ error: any Error) -> any Error {
        error is ApusError || error is CancellationError ? error : ApusError(.localStore, "the local store failed", cause: error)
    }

    private static let migrator: DatabaseMigrator = {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("v1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE profile (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                    CREATE TABLE conversation (
                        id INTEGER PRIMARY KEY,
                        cursor INTEGER NOT NULL DEFAULT 0,
                        head INTEGER NOT NULL DEFAULT 0,
                        read INTEGER NOT NULL DEFAULT 0,
                        read_confirmed INTEGER NOT NULL DEFAULT 0,
                        info TEXT);
                    CREATE TABLE entry (
                        conversation INTEGER NOT NULL,
                        seq INTEGER NOT NULL,
                        id INTEGER NOT NULL,
                        sender INTEGER NOT NULL,
                        at INTEGER NOT NULL,
                        kind TEXT NOT NULL,
                        body TEXT NOT NULL,
                        PRIMARY KEY (conversation, seq)) WITHOUT ROWID;
                    CREATE TABLE mark (
                        conversation INTEGER NOT NULL,
                        account INTEGER NOT NULL,
                        read INTEGER NOT NULL,
                        delivered INTEGER NOT NULL,
                        PRIMARY KEY (conversation, account)) WITHOUT ROWID;
                    CREATE TABLE outbox (
                        position INTEGER PRIMARY KEY AUTOINCREMENT,
                        owner TEXT NOT NULL,
                        conversation INTEGER NOT NULL,
                        client_id TEXT NOT NULL,
                        kind TEXT NOT NULL,
                        body TEXT NOT NULL,
                        deliver_at INTEGER,
                        UNIQUE (conversation, client_id));
                    CREATE INDEX outbox_owner ON outbox (owner, position);
                    """)
        }
        return migrator
    }()
}

extension Database {
    func run(_ sql: String, _ arguments: StatementArguments) throws {
        try cachedStatement(sql: sql).execute(arguments: arguments)
    }
}

extension Identifier {
    /// As SQLite stores it: the same 64 bits.
    var stored: Int64 { Int64(bitPattern: rawValue) }
    init(stored: Int64) { self.init(UInt64(bitPattern: stored)) }
}

extension Seq {
    /// As SQLite stores it. A seq past 63 bits is no seq of this universe; it sorts last.
    var stored: Int64 { Int64(clamping: self) }
    init(stored: Int64) { self = UInt64(clamping: stored) }
}
