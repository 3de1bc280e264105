#if Cluster
import CMariaDB

/// A prepared statement. Belongs to one connection and is used by the thread that has it.
final class MySQLStatement {
    private let pointer: UnsafeMutablePointer<MYSQL_STMT>
    private let parameterCount: Int
    private let results: MySQLResultBuffer?

    init(_ sql: String, on connection: UnsafeMutablePointer<MYSQL>) throws(MySQLFailure) {
        guard let pointer = mysql_stmt_init(connection) else { throw MySQLFailure(connection) }
        do throws(MySQLFailure) {
            guard mysql_stmt_prepare(pointer, sql, UInt(sql.utf8.count)) == 0 else { throw MySQLFailure(pointer) }
            results = try MySQLResultBuffer(pointer)
        } catch {
            mysql_stmt_close(pointer)
            throw error
        }
        self.pointer = pointer
        parameterCount = Int(mysql_stmt_param_count(pointer))
    }

    deinit { mysql_stmt_close(pointer) }

    /// Returns the number of rows that it found, inserted or deleted.
    func execute(_ values: [SQLValue]) throws(MySQLFailure) -> Int {
        try send(values)
        defer { mysql_stmt_free_result(pointer) }
        return Int(mysql_stmt_affected_rows(pointer))
    }

    func rows(_ values: [SQLValue]) throws(MySQLFailure) -> [SQLRow] {
        try send(values)
        guard let results else { return [] }
        defer { mysql_stmt_free_result(pointer) }
        // All of the answer at once: it is bounded by a LIMIT or by a key, and the server is free again.
        guard mysql_stmt_store_result(pointer) == 0 else { throw MySQLFailure(pointer) }
        var rows: [SQLRow] = []
        rows.reserveCapacity(Int(mysql_stmt_num_rows(pointer)))
        while true {
            switch mysql_stmt_fetch(pointer) {
            case 0, MYSQL_DATA_TRUNCATED: rows.append(try results.row())
            case MYSQL_NO_DATA: return rows
            default: throw MySQLFailure(pointer)
            }
        }
    }

    private func send(_ values: [SQLValue]) throws(MySQLFailure) {
        guard values.count == parameterCount else {
            throw MySQLFailure(code: 0, "a statement with \(parameterCount) places got \(values.count) values")
        }
        let parameters = MySQLParameters(values)
        if !values.isEmpty, mysql_stmt_bind_param(pointer, parameters.binds) != 0 { throw MySQLFailure(pointer) }
        guard mysql_stmt_execute(pointer) == 0 else { throw MySQLFailure(pointer) }
        // The library reads the values while it sends them, not later.
        withExtendedLifetime(parameters) {}
    }
}

/// The values of one execution, in memory that stays where it is.
private final class MySQLParameters {
    let binds: UnsafeMutablePointer<MYSQL_BIND>
    private let count: Int
    private let bytes: UnsafeMutableRawPointer

    init(_ values: [SQLValue]) {
        count = values.count
        binds = .allocate(capacity: max(1, count))
        binds.initialize(repeating: MYSQL_BIND(), count: count)
        let size = values.reduce(0) { $0 + Self.size($1) }
        bytes = .allocate(byteCount: max(1, size), alignment: 8)
        var offset = 0
        for (index, value) in values.enumerated() {
            bind(value, at: index, offset)
            offset += Self.size(value)
        }
    }

    deinit {
        binds.deinitialize(count: count)
        binds.deallocate()
        bytes.deallocate()
    }

    /// In whole words, so that integers lie aligned.
    private static func size(_ value: SQLValue) -> Int {
        switch value {
        case .integer: 8
        case .text(let text): (text.utf8.count + 7) & ~7
        case .blob(let blob): (blob.count + 7) & ~7
        case .null: 0
        }
    }

    private func bind(_ value: SQLValue, at index: Int, _ offset: Int) {
        let place = bytes + offset
        binds[index].buffer = place
        switch value {
        case .integer(let integer):
            place.storeBytes(of: integer, as: Int64.self)
            binds[index].buffer_type = MYSQL_TYPE_LONGLONG
        case .text(let text): copy(text.utf8, to: place, index, MYSQL_TYPE_STRING)
        case .blob(let blob): copy(blob, to: place, index, MYSQL_TYPE_BLOB)
        case .null: binds[index].buffer_type = MYSQL_TYPE_NULL
        }
    }

    private func copy(_ source: some Collection<UInt8>, to place: UnsafeMutableRawPointer, _ index: Int, _ type: enum_field_types) {
        let count = source.count
        UnsafeMutableRawBufferPointer(start: place, count: count).copyBytes(from: source)
        binds[index].buffer_type = type
        binds[index].buffer_length = UInt(count)
        // Without a length of its own the library takes this one.
        binds[index].length_value = UInt(count)
    }
}

/// Where the library puts the columns of a row.
private final class MySQLResultBuffer {
    private enum Column {
        case integer
        case text
        case blob
    }

    /// Longer values are fetched on their own.
    private static let inlineBytes = 256

    private let statement: UnsafeMutablePointer<MYSQL_STMT>
    private let columns: [Column]
    private let binds: UnsafeMutablePointer<MYSQL_BIND>
    private let lengths: UnsafeMutablePointer<UInt>
    private let nulls: UnsafeMutablePointer<my_bool>
    private let bytes: UnsafeMutableRawPointer

    /// Nil: the statement has no result.
    init?(_ statement: UnsafeMutablePointer<MYSQL_STMT>) throws(MySQLFailure) {
        guard let metadata = mysql_stmt_result_metadata(statement) else { return nil }
        defer { mysql_free_result(metadata) }
        let count = Int(mysql_num_fields(metadata))
        guard let fields = mysql_fetch_fields(metadata) else { return nil }
        self.statement = statement
        columns = (0..<count).map { Self.column(fields[$0]) }
        binds = .allocate(capacity: count)
        binds.initialize(repeating: MYSQL_BIND(), count: count)
        lengths = .allocate(capacity: count)
        lengths.initialize(repeating: 0, count: count)
        nulls = .allocate(capacity: count)
        nulls.initialize(repeating: 0, count: count)
        bytes = .allocate(byteCount: max(1, count) * Self.inlineBytes, alignment: 8)
        for (index, column) in columns.enumerated() {
            binds[index].buffer = bytes + index * Self.inlineBytes
            binds[index].length = lengths + index
            binds[index].is_null = nulls + index
            switch column {
            case .integer:
                binds[index].buffer_type = MYSQL_TYPE_LONGLONG
                binds[index].buffer_length = 8
            case .text, .blob:
                binds[index].buffer_type = MYSQL_TYPE_BLOB
                binds[index].buffer_length = UInt(Self.inlineBytes)
            }
        }
        guard mysql_stmt_bind_result(statement, binds) == 0 else { throw MySQLFailure(statement) }
    }

    deinit {
        // Structs of C: there is nothing in them to release.
        binds.deallocate()
        lengths.deallocate()
        nulls.deallocate()
        bytes.deallocate()
    }

    private static func column(_ field: MYSQL_FIELD) -> Column {
        switch field.type {
        case MYSQL_TYPE_TINY, MYSQL_TYPE_SHORT, MYSQL_TYPE_LONG, MYSQL_TYPE_INT24, MYSQL_TYPE_LONGLONG: .integer
        // 63: the character set that stands for bytes.
        default: field.charsetnr == 63 ? .blob : .text
        }
    }

    /// The row that was fetched last.
    func row() throws(MySQLFailure) -> SQLRow {
        var values: [SQLValue] = []
        values.reserveCapacity(columns.count)
        for (index, column) in columns.enumerated() {
            guard nulls[index] == 0 else {
                values.append(.null)
                continue
            }
            switch column {
            case .integer: values.append(.integer((bytes + index * Self.inlineBytes).load(as: Int64.self)))
            case .text: values.append(.text(String(decoding: try content(index), as: UTF8.self)))
            case .blob: values.append(.blob(try content(index)))
            }
        }
        return SQLRow(values: values)
    }

    private func content(_ index: Int) throws(MySQLFailure) -> [UInt8] {
        let count = Int(lengths[index])
        if count <= Self.inlineBytes {
            return Array(UnsafeRawBufferPointer(start: bytes + index * Self.inlineBytes, count: count))
        }
        var failed = false
        let content = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var length = UInt(0)
            var isNull = my_bool(0)
            var bind = MYSQL_BIND()
            bind.buffer_type = MYSQL_TYPE_BLOB
            bind.buffer = UnsafeMutableRawPointer(buffer.baseAddress)
            bind.buffer_length = UInt(count)
            withUnsafeMutablePointer(to: &length) { length in
                withUnsafeMutablePointer(to: &isNull) { isNull in
                    bind.length = length
                    bind.is_null = isNull
                    failed = mysql_stmt_fetch_column(statement, &bind, UInt32(index), 0) != 0
                }
            }
            initialized = failed ? 0 : count
        }
        if failed { throw MySQLFailure(statement) }
        return content
    }
}
#endif
