#if Cluster
import ApusProtocol
import Foundation

/// Where a MySQL-compatible server is and how it is used.
public struct MySQLConfiguration: Sendable, CustomStringConvertible {
    public enum TLS: Sendable, Hashable {
        /// Plaintext: for a server on this machine or in a network of one's own.
        case off
        /// Encrypted; whoever answers is believed to be the server.
        case required
        /// Encrypted, and the server's certificate must be for its host name and signed by `authorities` (a PEM file), or by those
        /// that the system trusts.
        case verified(authorities: String?)
    }

    public var host: String
    public var port: UInt16
    public var user: String
    public var password: String
    /// Exists already; the tables are made in it.
    public var database: String
    public var tls: TLS

    /// Connections for reads and for writes; the log has one more of its own.
    public var readersMax = 8
    public var writersMax = 8
    /// Calls that wait for a connection; what comes beyond that is refused.
    public var waitersMax = 10_000
    /// How long a call waits for a connection.
    public var waitMax: Duration = .seconds(10)
    public var connectTimeout: Duration = .seconds(5)
    /// How long the server may take to answer one statement.
    public var statementTimeout: Duration = .seconds(10)
    /// How long a statement waits for a row that another transaction holds.
    public var lockWaitTimeout: Duration = .seconds(3)
    /// No statement of a transaction begins later than this after its first one, all tries included; a server that can ends a
    /// transaction whose node falls silent for so long.
    public var transactionTimeout: Duration = .seconds(15)
    /// The longest time between the statement that stamps the heads of an append and the moment others see it.
    public var lateCommitMax: Duration = .seconds(5)
    /// Take a server that may lose acknowledged entries in a crash (`innodb_flush_log_at_trx_commit` is not 1).
    public var allowsLostCommits = false
    /// A group never has more members than this.
    public var membersMax = 20_000
    /// What is kept in memory of rosters: one for each member and six for each conversation, some 80 bytes each.
    public var rosterCacheCost = 400_000

    public init(
        host: String, port: UInt16 = 3306, user: String, password: String, database: String, tls: TLS = .off
    ) {
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.database = database
        self.tls = tls
    }

    /// From `mysql://user:password@host:port/database`, user and password percent-encoded where they must be. After a question mark:
    /// `tls=off` (the default), `tls=required` or `tls=verified`, and with the last one perhaps `ca=FILE`.
    /// - Throws: ``ApusError`` `invalid_argument`; its message does not contain the password.
    public init(url: String) throws(ApusError) {
        guard let parts = URLComponents(string: url), parts.scheme == "mysql", let host = parts.host, !host.isEmpty else {
            throw Self.refusal("it does not begin with mysql://user:password@host")
        }
        guard let user = parts.user, !user.isEmpty else { throw Self.refusal("the user is missing") }
        let database = String(parts.path.dropFirst())
        guard !database.isEmpty, !database.contains("/") else { throw Self.refusal("it does not end with /database") }
        guard let port = UInt16(exactly: parts.port ?? 3306), port > 0 else { throw Self.refusal("there is no such port") }
        self.init(
            host: host, port: port, user: user, password: parts.password ?? "", database: database,
            tls: try Self.tls(parts.queryItems ?? []))
    }

    private static func tls(_ items: [URLQueryItem]) throws(ApusError) -> TLS {
        var mode = "off"
        var authorities: String?
        for item in items {
            switch item.name {
            case "tls": mode = item.value ?? ""
            case "ca": authorities = item.value
            default: throw refusal("\(item.name) is no option; there are tls and ca")
            }
        }
        switch mode {
        case "verified": return .verified(authorities: authorities)
        case _ where authorities != nil: throw refusal("ca is of use with tls=verified only")
        case "required": return .required
        case "off": return .off
        default: throw refusal("tls is off, required or verified")
        }
    }

    private static func refusal(_ reason: String) -> ApusError { ApusError(.invalidArgument, "the MySQL URL cannot be used: \(reason)") }

    /// Without the password.
    public var description: String {
        "mysql://\(user)@\(host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host):\(port)/\(database)"
    }
}
#endif
