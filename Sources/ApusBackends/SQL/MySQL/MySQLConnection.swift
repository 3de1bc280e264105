#if Cluster
import CMariaDB
import NIOConcurrencyHelpers

/// One connection to the server. Every call blocks, for as long as the timeouts of the configuration allow.
///
/// `@unchecked Sendable`: it wanders between threads, but has one user at a time: the ``MySQLSlot`` that it belongs to.
final class MySQLConnection: @unchecked Sendable {
    enum Use: Sendable, Hashable {
        /// One snapshot for each transaction, taken by its first statement; nothing can be changed.
        case read
        /// Every statement sees what is committed when it runs. So a decision stands on rows that the transaction has locked or on
        /// a unique key, never on a snapshot that is older than the locks; and there are no locks on gaps, over which
        /// transactions that have nothing to do with each other would stumble. (TiDB takes the snapshot of a stricter
        /// transaction at its begin, before any lock is waited for.)
        case write
        /// A write whose end may hold several statements, which go to the server as one.
        case append
        /// A write that may take its time.
        case migration
    }

    private static let statementsMax = 256
    private static let isLibraryReady: Bool = mysql_server_init(0, nil, nil) == 0

    private let handle: UnsafeMutablePointer<MYSQL>
    private var statements: [String: MySQLStatement] = [:]

    init(_ configuration: MySQLConfiguration, _ use: Use) throws {
        // Before any other call, once, so that no two threads set the library up.
        guard Self.isLibraryReady, let handle = mysql_init(nil) else {
            throw MySQLFailure(code: 2008, "the client library cannot be set up")
        }
        self.handle = handle
        // When this throws, `deinit` closes the handle.
        Self.setOptions(of: handle, configuration, use)
        var flags = UInt(CLIENT_FOUND_ROWS)
        if use == .append { flags |= UInt(CLIENT_MULTI_STATEMENTS) }
        guard
            mysql_real_connect(
                handle, configuration.host, configuration.user, configuration.password, configuration.database,
                UInt32(configuration.port), nil, flags) != nil
        else { throw MySQLFailure(handle) }
        // The library goes on in plaintext when the server says that it has no TLS, though it was told to enforce it.
        guard configuration.tls == .off || mysql_get_ssl_cipher(handle) != nil else {
            throw MySQLFailure(code: 2026, "the server does not encrypt the connection")
        }
        try setSession(configuration, use)
        try checkDurability(configuration)
    }

    deinit {
        statements = [:]
        mysql_close(handle)
    }

    private static func setOptions(of handle: UnsafeMutablePointer<MYSQL>, _ configuration: MySQLConfiguration, _ use: Use) {
        func set<Value>(_ option: mysql_option, _ value: Value) {
            withUnsafePointer(to: value) { _ = mysql_options(handle, option, $0) }
        }
        mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4")
        // A host of the name localhost would mean a socket file.
        set(MYSQL_OPT_PROTOCOL, UInt32(MYSQL_PROTOCOL_TCP.rawValue))
        set(MYSQL_OPT_CONNECT_TIMEOUT, configuration.connectTimeout.wholeSeconds)
        let timeout = use == .migration ? .seconds(600) : configuration.statementTimeout
        set(MYSQL_OPT_READ_TIMEOUT, timeout.wholeSeconds)
        set(MYSQL_OPT_WRITE_TIMEOUT, configuration.statementTimeout.wholeSeconds)
        // The server cannot make this process send it a file.
        set(MYSQL_OPT_LOCAL_INFILE, UInt32(0))
        switch configuration.tls {
        case .off: break
        case .required:
            set(MYSQL_OPT_SSL_ENFORCE, my_bool(1))
            set(MYSQL_OPT_SSL_VERIFY_SERVER_CERT, my_bool(0))
        case .verified(let authorities):
            set(MYSQL_OPT_SSL_ENFORCE, my_bool(1))
            set(MYSQL_OPT_SSL_VERIFY_SERVER_CERT, my_bool(1))
            if let authorities { mysql_options(handle, MYSQL_OPT_SSL_CA, authorities) }
        }
    }

    private func setSession(_ configuration: MySQLConfiguration, _ use: Use) throws {
        // What is too long for its column is an error, not cut off.
        try run(
            """
            SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 0, \
            innodb_lock_wait_timeout = \(configuration.lockWaitTimeout.wholeSeconds), \
            wait_timeout = \(MySQLSlot.idleMax.wholeSeconds + 10)
            """)
        switch use {
        case .read:
            try run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            try run("SET SESSION TRANSACTION READ ONLY")
        case .write, .append, .migration: try run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        }
        // A node that is stopped in the middle of a transaction would hold its locks until it goes on or its connection ends.
        if String(cString: mysql_get_server_info(handle)).contains("MariaDB"), use != .migration {
            try run(
                """
                SET SESSION idle_transaction_timeout = \(configuration.lockWaitTimeout.wholeSeconds), \
                max_statement_time = \(configuration.statementTimeout.wholeSeconds)
                """)
        }
    }

    private func checkDurability(_ configuration: MySQLConfiguration) throws {
        guard !configuration.allowsLostCommits else { return }
        let setting = try statement("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit").rows([]).first?.integer(0)
        try run("ROLLBACK")
        guard setting == 1 else {
            throw StoreOpenError(
                .unusable, configuration.description,
                "the server runs with innodb_flush_log_at_trx_commit=\(setting ?? -1), with which a crash loses acknowledged messages; "
                    + "set it to 1, or allow lost commits in the configuration of Apus")
        }
    }

    /// A statement that stays prepared. When there are too many all are forgotten: it happens, if ever, after long.
    func statement(_ sql: String) throws(MySQLFailure) -> MySQLStatement {
        if let statement = statements[sql] { return statement }
        if statements.count >= Self.statementsMax { statements = [:] }
        let statement = try MySQLStatement(sql, on: handle)
        statements[sql] = statement
        return statement
    }

    /// Runs text that has no values in it. Of several statements, those after one that fails are not run.
    func run(_ sql: String) throws(MySQLFailure) {
        guard mysql_real_query(handle, sql, UInt(sql.utf8.count)) == 0 else { throw MySQLFailure(handle) }
        while true {
            if let result = mysql_store_result(handle) { mysql_free_result(result) }
            switch mysql_next_result(handle) {
            case 0: continue
            case -1: return
            default: throw MySQLFailure(handle)
            }
        }
    }
}

extension Duration {
    /// At least one.
    var wholeSeconds: UInt32 { UInt32(clamping: max(1, components.seconds + (components.attoseconds > 0 ? 1 : 0))) }

    var microseconds: Int64 { components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000 }
}
#endif
