#if Cluster
import ApusProtocol

/// A place for a connection, which is made when it is needed and made anew when it is lost. It blocks; one user at a time.
///
/// `@unchecked Sendable`: whoever takes it from the ``MySQLPool``, or holds the lock of the log, has it alone.
final class MySQLSlot: @unchecked Sendable {
    /// A connection that was idle for longer is made anew: a firewall, or the server, may have forgotten about it.
    static let idleMax = Duration.seconds(20)
    private static let triesMax = 8

    private let configuration: MySQLConfiguration
    private let use: MySQLConnection.Use
    private var connection: MySQLConnection?
    private var usedAt = ContinuousClock.now

    init(_ configuration: MySQLConfiguration, _ use: MySQLConnection.Use) {
        self.configuration = configuration
        self.use = use
    }

    func close() { connection = nil }

    /// Runs `body` and then `commit` in a transaction. All of it is tried again, a bounded number of times, after a deadlock or after
    /// waiting for a lock in vain, and when the connection is lost before the commit: then nothing of it was done.
    /// - Throws: what `body` throws, as it is; ``SQLUniqueViolation``; `store_unavailable` for what the server throws.
    func transaction<Value>(
        commit: (Value, MySQLSession) throws -> Void = { try $1.connection.run("COMMIT") }, _ body: (MySQLSession) throws -> Value
    ) throws -> Value {
        let deadline = ContinuousClock.now + configuration.transactionTimeout
        var tries = 0
        while true {
            tries += 1
            let session = MySQLSession(connection: try open(), deadline: deadline)
            var isCommitting = false
            do {
                let value = try body(session)
                try session.checkDeadline()
                isCommitting = true
                try commit(value, session)
                usedAt = .now
                return value
            } catch {
                rollBack(after: error)
                guard let failure = error as? MySQLFailure else { throw error }
                guard tries < Self.triesMax, ContinuousClock.now < deadline, failure.isWorthATry(isCommitting: isCommitting) else {
                    throw failure.storeError
                }
            }
        }
    }

    private func open() throws -> MySQLConnection {
        if ContinuousClock.now - usedAt > Self.idleMax { connection = nil }
        if let connection { return connection }
        do {
            let new = try MySQLConnection(configuration, use)
            connection = new
            usedAt = .now
            return new
        } catch let failure as MySQLFailure {
            throw failure.storeError
        } catch let error as StoreOpenError {
            throw ApusError(.storeUnavailable, "the store cannot be used", cause: error)
        }
    }

    private func rollBack(after error: any Error) {
        if let failure = error as? MySQLFailure, failure.kind == .connection { connection = nil }
        do {
            try connection?.run("ROLLBACK")
            usedAt = .now
        } catch {
            // The server rolls back what a lost connection leaves behind.
            connection = nil
        }
    }
}

extension MySQLFailure {
    fileprivate func isWorthATry(isCommitting: Bool) -> Bool {
        switch kind {
        // The server says so: nothing of the transaction was done.
        case .conflict: true
        case .connection: !isCommitting
        case .uniqueViolation, .other: false
        }
    }

    /// For callers of the store.
    var storeError: any Error {
        if kind == .uniqueViolation { return SQLUniqueViolation(message: message) }
        return ApusError(.storeUnavailable, "the store cannot do this at present", cause: self)
    }
}

/// ``SQLSession`` of a MySQL connection inside a transaction, which began with its first statement.
struct MySQLSession: SQLSession {
    let connection: MySQLConnection
    let deadline: ContinuousClock.Instant

    func checkDeadline() throws(MySQLFailure) {
        guard ContinuousClock.now < deadline else { throw .late("the transaction takes too long") }
    }

    @discardableResult
    func execute(_ sql: String, values: [SQLValue]) throws -> Int {
        try checkDeadline()
        do {
            return try connection.statement(sql).execute(values)
        } catch  where error.kind == .uniqueViolation {
            throw SQLUniqueViolation(message: error.message)
        }
    }

    func rows(_ sql: String, values: [SQLValue]) throws -> [SQLRow] {
        try checkDeadline()
        return try connection.statement(sql).rows(values)
    }
}
#endif
