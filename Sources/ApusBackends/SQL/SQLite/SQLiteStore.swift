import ApusCore
import ApusProtocol
import Foundation
import GRDB

/// The embedded store: one SQLite file in a directory that this process alone uses. A family of stores over one database.
///
/// Durable: what a call has stored when it returns survives kill -9 and power loss (`synchronous=FULL`, read back at the start).
public final class SQLiteStore: Sendable {
    public struct Options: Sendable {
        /// A group never has more members than this.
        public var membersMax = 20_000
        /// Connections that read at the same time.
        public var readersMax = 4
        /// Files up to this size are checked in full at every start.
        public var fullCheckBytesMax = 256 << 20
        /// A write-ahead log of this many pages of 4 kB begins to be copied back.
        public var checkpointPages = 1_000
        /// About how large the write-ahead log gets while nobody holds it up.
        public var walBytesMax = 64 << 20
        public var writerCacheBytes = 64 << 20
        /// So many entries, or bodies of so many bytes, gather in the commit log and in memory before they move to the tables for
        /// reading; about half as many again may gather while they do.
        public var recentEntriesMin = 65_536
        public var recentBytesMin = 32 << 20
        /// That move goes on in slices of at least this many entries.
        public var flushSliceMin = 128
        /// What is kept in memory of conversations: one for each member and six for each conversation, some 80 bytes each.
        public var conversationCacheCost = 400_000

        public init() {}
    }

    public let accounts: any AccountStore
    public let devices: any DeviceStore
    public let signingKeys: any SigningKeyStore
    public let conversations: any ConversationStore
    public let log: any EntryLog
    public let schedule: any ScheduleStore
    public let nodeLeases: any NodeLeaseStore

    let database: SQLiteDatabase

    /// Opens `apus.sqlite` in the directory, makes both if they are missing, and brings an older schema forward.
    public init(directory: URL, options: Options = Options()) throws(StoreOpenError) {
        let database = try SQLiteDatabase(directory: directory, options: options)
        let log: SQLiteEntryLog
        do {
            log = try SQLiteEntryLog(database: database, options: options)
        } catch {
            throw SQLiteDatabase.openError(error, database.path)
        }
        self.database = database
        self.log = log
        accounts = SQLAccountStore(driver: database)
        devices = SQLDeviceStore(driver: database)
        signingKeys = SQLSigningKeyStore(driver: database)
        conversations = SQLConversationStore(driver: database, log: log)
        schedule = SQLScheduleStore(driver: database) { name, session in try log.entry(named: name, session) }
        nodeLeases = SQLNodeLeaseStore(driver: database)
    }

    /// Waits for running calls and closes the file. Every later call fails.
    public func close() throws {
        try database.close()
    }

    /// What a full check of the file finds; nothing: it is sound. Reads all of it, some 500 MB a second, while the server goes on.
    public func check() async throws -> [String] {
        try await database.read { session in
            try session.rows("PRAGMA integrity_check").map { try $0.text(0) }.filter { $0 != "ok" }
        }
    }

    /// Writes a copy of the database, as it is at one moment, to a file that must not exist yet; the server goes on meanwhile.
    /// Blocks until the copy is on disk.
    public func backup(to file: URL) throws {
        try SQLiteDatabase.backup(database.path, to: file)
    }

    /// Writes a copy of the database of a data directory, whether a server runs on it or not. Blocks until the copy is on disk.
    public static func backup(directory: URL, to file: URL) throws {
        try SQLiteDatabase.backup(SQLiteDatabase.file(in: directory), to: file)
    }
}
