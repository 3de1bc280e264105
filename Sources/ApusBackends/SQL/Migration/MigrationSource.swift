#if Cluster
import Foundation
import GRDB
import GRDBSQLite

/// The database of a stopped server, whose directory it keeps locked; nothing in it is changed. For one thread.
final class MigrationSource {
    let path: String
    private let lock: DirectoryLock
    private let queue: DatabaseQueue

    /// - Throws: ``StoreOpenError``: `inUse` while a server runs on the directory.
    init(directory: URL) throws(StoreOpenError) {
        path = SQLiteDatabase.file(in: directory)
        // The lock would make a directory of that name.
        guard FileManager.default.fileExists(atPath: path) else {
            throw StoreOpenError(.unusable, path, "there is no such database")
        }
        lock = try DirectoryLock(directory: directory)
        do {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.label = "apus.migration"
            queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.read { [path] in try Self.check($0, path) }
        } catch {
            throw SQLiteDatabase.openError(error, path)
        }
    }

    /// Runs `body` in one snapshot.
    func read<Value>(_ body: (MigrationSnapshot) throws -> Value) throws -> Value {
        do {
            return try queue.read { try body(MigrationSnapshot(session: SQLiteSession(database: $0), path: path)) }
        } catch let error where error is DatabaseError || error is SQLiteFailure {
            throw SQLiteDatabase.openError(error, path)
        }
    }

    private static func check(_ database: Database, _ path: String) throws {
        guard try Int32.fetchOne(database, sql: "PRAGMA application_id") == SQLiteDatabase.applicationID else {
            throw StoreOpenError(.unusable, path, "the file is not the database of an Apus server")
        }
        let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
        guard version <= SQLiteSchema.version else {
            throw StoreOpenError(
                .newerSchema, path, "the database has schema \(version), this version of Apus knows up to \(SQLiteSchema.version)")
        }
        guard version == SQLiteSchema.version else {
            throw StoreOpenError(
                .unusable, path,
                "the database has schema \(version) of an older version; start apus serve of this version on it once, and stop it again")
        }
    }
}

/// The source as it was at one moment.
struct MigrationSnapshot {
    let session: SQLiteSession
    let path: String

    /// The rows after a key, or all, one by one: what is in memory at a time does not grow with the table.
    func rows(of table: MigrationTable, after key: [SQLValue]?) throws -> () throws -> SQLRow? {
        switch table.source {
        case .table: try cursor(table.columns, from: table.name, table.key, after: key).next
        case .query(let query): try cursor(table.columns, from: "(\(query))", table.key, after: key).next
        case .log: try entries(table, after: key)
        }
    }

    func count(of table: MigrationTable) throws -> Int {
        let query =
            switch table.source {
            case .table, .query: "SELECT COUNT(*) FROM \(table.name)"
            // Without gaps from 1 on; to count them would be to read all there is.
            case .log: "SELECT COALESCE(SUM(head), 0) FROM (\(MigrationTable.conversations))"
            }
        return Int(try session.row(query)?.integer(0) ?? 0)
    }

    private func cursor(_ columns: [String], from source: String, _ key: [String], after: [SQLValue]?) throws -> SQLiteCursor {
        let order = key.joined(separator: ", ")
        let condition = after.map { "WHERE (\(order)) > (\($0.marks))" } ?? ""
        return try SQLiteCursor(
            "SELECT \(columns.joined(separator: ", ")) FROM \(source) \(condition) ORDER BY \(order)", after ?? [], session)
    }

    /// Two cursors in the same order, side by side: the names' table is ordered by name, and SQLite sorts it, one conversation at a
    /// time, in a temporary file where it must. What is in the commit log only is merged into both.
    private func entries(_ table: MigrationTable, after key: [SQLValue]?) throws -> () throws -> SQLRow? {
        let entryColumns = ["conversation", "seq", "id", "sender", "at", "kind", "body"]
        let nameColumns = ["conversation", "seq", "sender", "client_id"]
        let entries = try cursor(entryColumns, from: Self.log("entry", entryColumns), table.key, after: key)
        let names = try cursor(nameColumns, from: Self.log("entry_name", nameColumns), table.key, after: key)
        return {
            guard var entry = try entries.next() else {
                guard try names.next() == nil else { throw damaged }
                return nil
            }
            guard let name = try names.next()?.values, name[0...1] == entry.values[0...1], name[2] == entry.values[3] else { throw damaged }
            entry.values.insert(name[3], at: 4)
            return entry
        }
    }

    private static func log(_ table: String, _ columns: [String]) -> String {
        """
        (SELECT \(columns.joined(separator: ", ")) FROM \(table) UNION ALL
        SELECT \(columns.map { "l.\($0)" }.joined(separator: ", ")) FROM entry_log l JOIN conversation c ON c.id = l.conversation
        WHERE l.seq > c.head)
        """
    }

    private var damaged: StoreOpenError { StoreOpenError(.corrupt, path, "the tables of entries and of their names do not fit together") }
}

/// The rows of one statement. The only one of its text at a time.
private final class SQLiteCursor {
    private let statement: SQLiteStatement
    private let columns: Int32

    init(_ sql: String, _ values: [SQLValue], _ session: SQLiteSession) throws {
        statement = try session.prepare(sql, values)
        columns = sqlite3_column_count(statement.pointer)
    }

    deinit { statement.reset() }

    func next() throws -> SQLRow? {
        guard try statement.step() else { return nil }
        return SQLRow(values: (0..<columns).map(statement.value))
    }
}
#endif
