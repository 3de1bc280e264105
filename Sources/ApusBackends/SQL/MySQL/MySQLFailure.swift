#if Cluster
import CMariaDB

/// What the server, or the client library in its place, answered instead of doing what it was told.
struct MySQLFailure: Error, CustomStringConvertible {
    enum Kind: Sendable, Hashable {
        /// Rolled back because it was in the way of another transaction: worth another try.
        case conflict
        case uniqueViolation
        /// There is no connection any more, or never was one. What was sent last may have been done.
        case connection
        case other
    }

    var code: UInt32
    var message: String

    init(code: UInt32, _ message: String) {
        self.code = code
        self.message = message
    }

    init(_ connection: UnsafeMutablePointer<MYSQL>) {
        self.init(code: mysql_errno(connection), String(cString: mysql_error(connection)))
    }

    init(_ statement: UnsafeMutablePointer<MYSQL_STMT>) {
        self.init(code: mysql_stmt_errno(statement), String(cString: mysql_stmt_error(statement)))
    }

    static func late(_ what: String) -> MySQLFailure { MySQLFailure(code: 0, what) }

    var kind: Kind {
        switch code {
        // Lock wait timeout, deadlock; "record has changed since last read" of MariaDB; write conflict of TiDB.
        case 1205, 1213, 1020, 9007: .conflict
        case 1062, 1586: .uniqueViolation
        // Errors of the client library; those of a server that is about to close the connection or does not take it.
        case 2000...2999, 5000...5999, 1040, 1053, 1077, 1152, 1153, 1158...1161, 1184, 1927, 3169, 4031: .connection
        default: .other
        }
    }

    var description: String { code == 0 ? message : "MySQL error \(code): \(message)" }
}
#endif
