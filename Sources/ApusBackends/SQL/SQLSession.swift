import ApusCore
import ApusProtocol

/// A value in a table.
enum SQLValue: Sendable, Hashable {
    case integer(Int64)
    case text(String)
    case blob([UInt8])
    case null

    static func id<Tag>(_ id: Identifier<Tag>) -> SQLValue { .integer(Int64(bitPattern: id.rawValue)) }
    static func time(_ time: Timestamp) -> SQLValue { .integer(time.milliseconds) }
    /// `Seq.max`, "for ever", becomes the largest integer of SQL.
    static func seq(_ seq: Seq) -> SQLValue { .integer(Int64(clamping: seq)) }
    static func count(_ count: Int) -> SQLValue { .integer(Int64(count)) }

    /// Where a page in ascending order begins. An id above those that exist is after all of them.
    static func after<Tag>(_ id: Identifier<Tag>?) -> SQLValue { .integer(id.map { Int64(clamping: $0.rawValue) } ?? -1) }
}

/// One row of an answer, read by the place of its columns.
struct SQLRow: Sendable {
    var values: [SQLValue]

    func integer(_ column: Int) throws -> Int64 {
        guard case .integer(let value) = values[column] else { throw unexpected(column) }
        return value
    }

    func text(_ column: Int) throws -> String {
        guard case .text(let value) = values[column] else { throw unexpected(column) }
        return value
    }

    func blob(_ column: Int) throws -> [UInt8] {
        guard case .blob(let value) = values[column] else { throw unexpected(column) }
        return value
    }

    func isNull(_ column: Int) -> Bool { values[column] == .null }

    func id<Tag>(_ column: Int, _ type: Identifier<Tag>.Type = Identifier<Tag>.self) throws -> Identifier<Tag> {
        Identifier(rawValue: UInt64(bitPattern: try integer(column)))
    }

    func time(_ column: Int) throws -> Timestamp { Timestamp(milliseconds: try integer(column)) }

    func seq(_ column: Int) throws -> Seq { Seq(clamping: try integer(column)) }

    private func unexpected(_ column: Int) -> ApusError {
        ApusError(.storeUnavailable, "the store holds a value of another type in column \(column)")
    }
}

/// A row breaks a unique key.
struct SQLUniqueViolation: Error {
    var message: String
}

/// A connection inside a transaction. Statements are portable SQL with `?` for values; what cannot be said so is the
/// business of a driver.
protocol SQLSession {
    /// Returns the number of rows that it inserted, deleted or that its `WHERE` found.
    /// - Throws: ``SQLUniqueViolation``, or what the driver throws when the database fails.
    @discardableResult
    func execute(_ sql: String, values: [SQLValue]) throws -> Int
    func rows(_ sql: String, values: [SQLValue]) throws -> [SQLRow]
}

extension SQLSession {
    @discardableResult
    func execute(_ sql: String, _ values: SQLValue...) throws -> Int { try execute(sql, values: values) }

    func rows(_ sql: String, _ values: SQLValue...) throws -> [SQLRow] { try rows(sql, values: values) }

    func row(_ sql: String, _ values: SQLValue...) throws -> SQLRow? { try rows(sql, values: values).first }
}

/// Runs transactions. What the database itself throws comes out as ``ApusError`` `store_unavailable`; errors of the body come
/// out as they are and roll the transaction back.
protocol SQLDriver: Sendable {
    associatedtype Session: SQLSession

    /// An expression of SQL: the database's own time, in Unix milliseconds.
    static var nowMilliseconds: String { get }

    /// One snapshot for the whole body.
    func read<Value: Sendable>(_ body: @escaping @Sendable (Session) throws -> Value) async throws -> Value
    /// Durable when it returns. Writers of other processes may run at the same time: what a body decides stands on what its statements
    /// found when they changed it or on a unique key, not on what it read before. `body` may run several times.
    @discardableResult
    func write<Value: Sendable>(_ body: @escaping @Sendable (Session) throws -> Value) async throws -> Value
}

extension SQLDriver {
    /// A write that adds a row unless it is there. When another node adds the same one meanwhile it begins again, once, and finds it.
    @discardableResult
    func writeAgainIfAdded<Value: Sendable>(_ body: @escaping @Sendable (Session) throws -> Value) async throws -> Value {
        do {
            return try await write(body)
        } catch is SQLUniqueViolation {
            return try await write(body)
        }
    }
}
