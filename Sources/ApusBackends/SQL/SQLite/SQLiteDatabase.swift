import ApusCore
import ApusProtocol
import Foundation
import GRDB
import GRDBSQLite
import NIOConcurrencyHelpers

/// The database file of a data directory: one connection that writes, some that read, one that checkpoints.
final class SQLiteDatabase: SQLDriver {
    // `unixepoch` knows no milliseconds before SQLite 3.42.
    static let nowMilliseconds = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"

    let path: String
    let pool: DatabasePool
    private let lock: DirectoryLock
    private let checkpointer: WALCheckpointer
    private let isClosed = NIOLockedValueBox(false)

    /// "Apus" in the header of the file: another program's database is not migrated by mistake.
    static let applicationID: Int32 = 0x4170_7573

    init(directory: URL, options: SQLiteStore.Options) throws(StoreOpenError) {
        lock = try DirectoryLock(directory: directory)
        path = Self.file(in: directory)
        do {
            try Self.makeFile(path)
            pool = try Self.openPool(path, options)
            checkpointer = try WALCheckpointer(path: path, pool: pool, options: options)
        } catch {
            throw Self.openError(error, path)
        }
    }

    deinit {
        // Whoever wants to know about errors calls `close()`; what is committed is safe either way.
        try? close()
    }

    /// Waits for what is running, writes the write-ahead log back into the file, closes it and lets the directory go.
    func close() throws {
        let isFirst = isClosed.withLockedValue { closed in
            defer { closed = true }
            return !closed
        }
        guard isFirst else { return }
        defer { lock.release() }
        try checkpointer.stop()
        try pool.close()
    }

    static func file(in directory: URL) -> String { directory.appendingPathComponent("apus.sqlite").path }

    // MARK: Opening

    private static func makeFile(_ path: String) throws {
        // The -wal and -shm files get the same rights.
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StoreOpenError(.unusable, path, "the file cannot be opened: \(String(cString: strerror(errno)))")
        }
        Foundation.close(descriptor)
    }

    private static func openPool(_ path: String, _ options: SQLiteStore.Options) throws -> DatabasePool {
        let pool = try DatabasePool(path: path, configuration: configuration(options))
        try pool.writeWithoutTransaction { database in
            try check(database, path, options)
            try configureWriter(database, options)
            try migrate(database, path)
        }
        return pool
    }

    private static func configuration(_ options: SQLiteStore.Options) -> Configuration {
        var configuration = Configuration()
        configuration.label = "apus.store"
        configuration.foreignKeysEnabled = false
        configuration.maximumReaderCount = options.readersMax
        configuration.persistentReadOnlyConnections = true
        // The checkpointer and recovery hold locks for moments only.
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA cache_size = -16384; PRAGMA trusted_schema = OFF")
        }
        return configuration
    }

    private static func configureWriter(_ database: Database, _ options: SQLiteStore.Options) throws {
        // GRDB sets NORMAL when it turns WAL on, after `prepareDatabase`; so FULL is set here, and what holds is read back.
        // Deleted content is overwritten, not just marked as free, whatever the library's default is.
        try database.execute(
            sql: """
                PRAGMA synchronous = FULL;
                PRAGMA wal_autocheckpoint = 0;
                PRAGMA secure_delete = ON;
                PRAGMA journal_size_limit = \(options.walBytesMax);
                PRAGMA cache_size = -\(options.writerCacheBytes / 1024);
                """)
        let synchronous = try Int.fetchOne(database, sql: "PRAGMA synchronous")
        let journal = try String.fetchOne(database, sql: "PRAGMA journal_mode")
        guard synchronous == 2, journal == "wal" else {
            throw StoreOpenError(
                .unusable, database.configuration.label ?? "",
                "the database does not take journal_mode=WAL and synchronous=FULL, without which an acknowledged message can be lost")
        }
    }

    private static func migrate(_ database: Database, _ path: String) throws {
        let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
        let application = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
        let isEmpty = try Int.fetchOne(database, sql: "SELECT COUNT(*) FROM sqlite_master") == 0
        guard application == applicationID || isEmpty else {
            throw StoreOpenError(.unusable, path, "the file is a database of another program")
        }
        guard version <= SQLiteSchema.version else {
            throw StoreOpenError(
                .newerSchema, path, "the database has schema \(version), this version of Apus knows up to \(SQLiteSchema.version)")
        }
        for migration in SQLiteSchema.migrations where migration.version > version {
            try database.inTransaction(.immediate) {
                for statement in migration.statements { try database.execute(sql: statement) }
                try database.execute(sql: "PRAGMA application_id = \(applicationID); PRAGMA user_version = \(migration.version)")
                return .commit
            }
        }
    }

    /// Finds damage before anything is written. `quick_check` reads the whole file, some 500 MB a second: up to a size all of it is
    /// checked at every start; of larger files all tables but the logs' own, which make up nearly all of it. ``SQLiteStore/check()``
    /// does the rest on demand, and a damaged page of a log is reported when it is read.
    private static func check(_ database: Database, _ path: String, _ options: SQLiteStore.Options) throws {
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
        if size <= options.fullCheckBytesMax { return try quickCheck(database, path, "quick_check(1)") }
        let tables = try String.fetchAll(database, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
        for table in tables where !LogTables.names.contains(table) {
            try quickCheck(database, path, "quick_check('\(table)')")
        }
    }

    private static func quickCheck(_ database: Database, _ path: String, _ pragma: String) throws {
        let answer = try String.fetchOne(database, sql: "PRAGMA \(pragma)")
        guard answer == "ok" else { throw StoreOpenError(.corrupt, path, answer ?? "no answer to \(pragma)") }
    }

    static func openError(_ error: any Error, _ path: String) -> StoreOpenError {
        if let error = error as? StoreOpenError { return error }
        switch resultCode(error) {
        case SQLITE_CORRUPT, SQLITE_NOTADB: return StoreOpenError(.corrupt, path, String(describing: error))
        default: return StoreOpenError(.unusable, path, String(describing: error))
        }
    }

    // MARK: Transactions

    func read<Value: Sendable>(_ body: @escaping @Sendable (SQLiteSession) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            pool.asyncRead { result in
                continuation.resume(with: Result { try Self.mapErrors { try body(SQLiteSession(database: result.get())) } })
            }
        }
    }

    func write<Value: Sendable>(_ body: @escaping @Sendable (SQLiteSession) throws -> Value) async throws -> Value {
        // Not GRDB's own async method: that one gives up when the task is cancelled, and then nobody knows what was stored.
        try await withCheckedThrowingContinuation { continuation in
            pool.asyncWrite { database in
                try body(SQLiteSession(database: database))
            } completion: { _, result in
                continuation.resume(with: Result { try Self.mapErrors { try result.get() } })
            }
        }
    }

    /// Runs `body` on the connection that writes, outside a transaction; blocks meanwhile.
    func onWriter<Value>(_ body: (Database) throws -> Value) throws -> Value {
        try Self.mapErrors { try pool.writeWithoutTransaction(body) }
    }

    /// Runs `body` on the connection that writes, outside a transaction, when its turn comes.
    func onWriterQueue<Value: Sendable>(_ body: @escaping @Sendable (SQLiteSession) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            pool.asyncWriteWithoutTransaction { database in
                continuation.resume(with: Result { try Self.mapErrors { try body(SQLiteSession(database: database)) } })
            }
        }
    }

    /// Copies the database file at `path`, as it is at one moment, through a connection of its own that only reads; it may belong to a
    /// server that runs.
    static func backup(_ path: String, to file: URL) throws {
        guard FileManager.default.fileExists(atPath: path) else { throw StoreOpenError(.unusable, path, "there is no such database") }
        guard !FileManager.default.fileExists(atPath: file.path) else {
            throw ApusError(.conflict, "\(file.path) exists already")
        }
        try mapErrors {
            var readOnly = Configuration()
            readOnly.readonly = true
            readOnly.busyMode = .timeout(5)
            let source = try DatabaseQueue(path: path, configuration: readOnly)
            do {
                try makeFile(file.path)
                let copy = try DatabaseQueue(path: file.path)
                try source.backup(to: copy)
                try copy.close()
            } catch {
                // A copy that is not whole must not be taken for one.
                try? FileManager.default.removeItem(at: file)
                throw error
            }
        }
    }

    private static func mapErrors<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error where resultCode(error) != nil {
            throw ApusError(.storeUnavailable, "the store cannot do this at present", cause: error)
        }
    }

    /// The primary code of an error that SQLite reported.
    private static func resultCode(_ error: any Error) -> Int32? {
        switch error {
        case let error as DatabaseError: error.resultCode.rawValue
        case let error as SQLiteFailure: error.primaryCode
        default: nil
        }
    }
}
