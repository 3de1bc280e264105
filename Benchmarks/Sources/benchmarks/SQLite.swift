import Foundation
import GRDBSQLite

struct SQLiteError: Error, CustomStringConvertible {
    var description: String
}

/// A connection of the C library, as bare as can be.
final class Connection {
    let pointer: OpaquePointer

    init(_ path: String, cacheKilobytes: Int) throws {
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        guard sqlite3_open_v2(path, &opened, flags, nil) == SQLITE_OK, let opened else {
            throw SQLiteError(description: "cannot open \(path)")
        }
        pointer = opened
        sqlite3_busy_timeout(pointer, 5000)
        try execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-\(cacheKilobytes)")
    }

    deinit { sqlite3_close_v2(pointer) }

    func execute(_ sql: String) throws {
        guard sqlite3_exec(pointer, sql, nil, nil, nil) == SQLITE_OK else { throw error }
    }

    func prepare(_ sql: String) throws -> Prepared { try Prepared(sql, self) }

    var error: SQLiteError { SQLiteError(description: String(cString: sqlite3_errmsg(pointer))) }
}

final class Prepared {
    enum Value {
        case integer(Int64)
        case text(String)
    }

    private let connection: Connection
    private let pointer: OpaquePointer

    init(_ sql: String, _ connection: Connection) throws {
        var prepared: OpaquePointer?
        guard sqlite3_prepare_v3(connection.pointer, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil) == SQLITE_OK, let prepared
        else { throw connection.error }
        pointer = prepared
        self.connection = connection
    }

    deinit { sqlite3_finalize(pointer) }

    /// Returns the number of rows.
    @discardableResult
    func run(_ values: Value...) throws -> Int {
        defer { sqlite3_reset(pointer) }
        for (index, value) in values.enumerated() {
            switch value {
            case .integer(let value): sqlite3_bind_int64(pointer, Int32(index + 1), value)
            case .text(let text): sqlite3_bind_text(pointer, Int32(index + 1), text, -1, Self.transient)
            }
        }
        var rows = 0
        while true {
            switch sqlite3_step(pointer) {
            case SQLITE_ROW:
                rows += 1
                // A reader takes the body.
                _ = sqlite3_column_text(pointer, sqlite3_column_count(pointer) - 1)
            case SQLITE_DONE: return rows
            default: throw connection.error
            }
        }
    }

    /// SQLITE_TRANSIENT: SQLite copies the bytes.
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
}
