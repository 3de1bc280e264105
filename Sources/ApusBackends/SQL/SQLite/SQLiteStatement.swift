import ApusProtocol
import GRDB
import GRDBSQLite

/// What SQLite answered instead of doing what it was told.
struct SQLiteFailure: Error, CustomStringConvertible {
    /// The extended result code.
    var code: Int32
    var message: String

    init(_ connection: OpaquePointer) {
        code = sqlite3_extended_errcode(connection)
        message = String(cString: sqlite3_errmsg(connection))
    }

    var primaryCode: Int32 { code & 0xFF }
    var description: String { "SQLite error \(code): \(message)" }
}

/// A prepared statement, used straight through the C interface: GRDB's own way of binding costs more than the insert
/// itself, and cuts text at a NUL. Belongs to one connection and is used on its queue only.
struct SQLiteStatement {
    let connection: OpaquePointer
    let pointer: OpaquePointer

    /// A statement that `database` keeps prepared.
    init(cached sql: String, _ database: Database) throws {
        guard let connection = database.sqliteConnection else { throw DatabaseError(resultCode: .SQLITE_MISUSE) }
        self.connection = connection
        pointer = try database.cachedStatement(sql: sql).sqliteStatement
    }

    func bind(_ value: Int64, at place: Int32) throws {
        try check(sqlite3_bind_int64(pointer, place, value))
    }

    func bind(_ value: UInt64, at place: Int32) throws { try bind(Int64(bitPattern: value), at: place) }

    func bind(_ text: String, at place: Int32) throws {
        var text = text
        try text.withUTF8 { bytes in
            // A nil pointer would be NULL.
            guard let start = bytes.baseAddress else { return try check(sqlite3_bind_text(pointer, place, "", 0, Self.transient)) }
            try start.withMemoryRebound(to: CChar.self, capacity: bytes.count) { start in
                try check(sqlite3_bind_text(pointer, place, start, Int32(bytes.count), Self.transient))
            }
        }
    }

    func bind(_ value: SQLValue, at place: Int32) throws {
        switch value {
        case .integer(let value): try bind(value, at: place)
        case .text(let text): try bind(text, at: place)
        case .null: try check(sqlite3_bind_null(pointer, place))
        case .blob(let bytes):
            guard !bytes.isEmpty else { return try check(sqlite3_bind_zeroblob(pointer, place, 0)) }
            try check(sqlite3_bind_blob(pointer, place, bytes, Int32(bytes.count), Self.transient))
        }
    }

    /// Runs to the end of a statement that has no rows.
    func run() throws {
        defer { sqlite3_reset(pointer) }
        guard sqlite3_step(pointer) == SQLITE_DONE else { throw SQLiteFailure(connection) }
    }

    /// Calls `body` for each row until it returns false.
    func forEachRow(_ body: () throws -> Bool) throws {
        defer { reset() }
        while try step() { if try !body() { return } }
    }

    /// Goes to the next row, if there is one. Whoever steps resets in the end.
    func step() throws -> Bool {
        switch sqlite3_step(pointer) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw SQLiteFailure(connection)
        }
    }

    func reset() { sqlite3_reset(pointer) }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(pointer, column) }

    func unsigned(_ column: Int32) -> UInt64 { UInt64(bitPattern: integer(column)) }

    func text(_ column: Int32) -> String {
        guard let start = sqlite3_column_text(pointer, column) else { return "" }
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(pointer, column))), as: UTF8.self)
    }

    func value(_ column: Int32) -> SQLValue {
        switch sqlite3_column_type(pointer, column) {
        case SQLITE_INTEGER: return .integer(integer(column))
        case SQLITE_TEXT: return .text(text(column))
        case SQLITE_BLOB:
            let count = Int(sqlite3_column_bytes(pointer, column))
            return .blob(Array(UnsafeRawBufferPointer(start: sqlite3_column_blob(pointer, column), count: count)))
        default: return .null
        }
    }

    private func check(_ result: Int32) throws {
        guard result == SQLITE_OK else { throw SQLiteFailure(connection) }
    }

    /// SQLITE_TRANSIENT, a macro that Swift does not import: SQLite copies the bytes.
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
}

/// ``SQLSession`` of a SQLite connection.
struct SQLiteSession: SQLSession {
    let database: Database

    @discardableResult
    func execute(_ sql: String, values: [SQLValue]) throws -> Int {
        let statement = try prepare(sql, values)
        do {
            try statement.run()
        } catch let failure as SQLiteFailure {
            switch failure.code {
            case SQLITE_CONSTRAINT | (8 << 8), SQLITE_CONSTRAINT | (6 << 8):  // _UNIQUE, _PRIMARYKEY
                throw SQLUniqueViolation(message: failure.message)
            default: throw failure
            }
        }
        return Int(sqlite3_changes(statement.connection))
    }

    func rows(_ sql: String, values: [SQLValue]) throws -> [SQLRow] {
        var rows: [SQLRow] = []
        try forEachRow(sql, values) { row in
            rows.append(row)
            return true
        }
        return rows
    }

    func forEachRow(_ sql: String, _ values: [SQLValue], _ body: (SQLRow) throws -> Bool) throws {
        let statement = try prepare(sql, values)
        let columns = sqlite3_column_count(statement.pointer)
        try statement.forEachRow { try body(SQLRow(values: (0..<columns).map(statement.value))) }
    }

    func prepare(_ sql: String, _ values: [SQLValue]) throws -> SQLiteStatement {
        let statement = try SQLiteStatement(cached: sql, database)
        for (index, value) in values.enumerated() { try statement.bind(value, at: Int32(index + 1)) }
        return statement
    }
}
