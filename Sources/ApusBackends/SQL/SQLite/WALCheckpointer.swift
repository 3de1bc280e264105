import Foundation
import GRDB
import GRDBSQLite
import NIOConcurrencyHelpers

/// Writes the write-ahead log back into the database file, off the commit path.
///
/// A commit only reports how long the log is. Past a first mark a connection of its own copies pages back, which disturbs nobody
/// but cannot end while commits go on: so the log would grow for ever. Past a second mark the rest, short by then, is copied on the
/// writer's queue; the next commit then begins the log anew.
final class WALCheckpointer: Sendable {
    private let queue = DispatchQueue(label: "apus.store.checkpoint", qos: .utility)
    private let connection: DatabaseQueue
    private let pool: DatabasePool
    private let pagesMin: Int
    private let pagesMax: Int
    private let isScheduled = NIOLockedValueBox(false)

    init(path: String, pool: DatabasePool, options: SQLiteStore.Options) throws {
        self.pool = pool
        pagesMin = options.checkpointPages
        pagesMax = options.walBytesMax / 4096 / 2
        var configuration = Configuration()
        configuration.label = "apus.store.checkpoint"
        configuration.busyMode = .timeout(1)
        connection = try DatabaseQueue(path: path, configuration: configuration)
        try connection.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0") }
        pool.writeWithoutTransaction { database in
            // Unretained: `stop` takes the hook away before this object can go.
            _ = sqlite3_wal_hook(
                database.sqliteConnection,
                { context, connection, _, pages in
                    guard let context, let connection else { return SQLITE_OK }
                    Unmanaged<WALCheckpointer>.fromOpaque(context).takeUnretainedValue().logGrew(toPages: Int(pages), connection)
                    return SQLITE_OK
                }, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    /// Ends with a log that is empty if no reader is left.
    func stop() throws {
        pool.writeWithoutTransaction { database in _ = sqlite3_wal_hook(database.sqliteConnection, nil, nil) }
        try queue.sync {
            _ = connection.writeWithoutTransaction { Self.checkpoint($0, SQLITE_CHECKPOINT_TRUNCATE) }
            try connection.close()
        }
    }

    /// Called on the writer's queue after each commit.
    private func logGrew(toPages pages: Int, _ writer: OpaquePointer) {
        guard pages >= pagesMin else { return }
        let isFirst = isScheduled.withLockedValue { scheduled in
            defer { scheduled = true }
            return !scheduled
        }
        if isFirst { queue.async { self.run(logPages: pages) } }
        // The other thread does not get its turn: a slow commit is better than a full disk.
        if pages >= 2 * pagesMax { sqlite3_wal_checkpoint_v2(writer, nil, SQLITE_CHECKPOINT_PASSIVE, nil, nil) }
    }

    private func run(logPages: Int) {
        defer { isScheduled.withLockedValue { $0 = false } }
        // A checkpoint that fails (a full disk) is tried again after the next commit; the log has all that is needed.
        guard connection.writeWithoutTransaction({ Self.checkpoint($0, SQLITE_CHECKPOINT_PASSIVE) }), logPages >= pagesMax else { return }
        // What was committed meanwhile, so that little is left for the writer.
        _ = connection.writeWithoutTransaction { Self.checkpoint($0, SQLITE_CHECKPOINT_PASSIVE) }
        _ = pool.writeWithoutTransaction { Self.checkpoint($0, SQLITE_CHECKPOINT_PASSIVE) }
    }

    private static func checkpoint(_ database: Database, _ mode: Int32) -> Bool {
        sqlite3_wal_checkpoint_v2(database.sqliteConnection, nil, mode, nil, nil) == SQLITE_OK
    }
}
