#if Cluster
import ApusCore
import ApusProtocol
import Foundation

/// How to reach Redis.
public struct RedisConfiguration: Sendable, Hashable, CustomStringConvertible {
    public enum Topology: String, Sendable, Hashable {
        /// Found out from the first server that answers.
        case automatic
        case single
        case cluster
    }

    public enum Security: Sendable, Hashable {
        case plaintext
        /// - authority: a PEM file with the certificates to trust; nil: the system's.
        /// - verifies: false only where nobody can listen: a test.
        case tls(authority: String?, verifies: Bool)
    }

    /// Asked for the map of a cluster, in any order; a single server is the first one that answers.
    public var seeds: [NetworkAddress]
    public var topology: Topology
    public var security: Security
    /// Nil: Redis's user `default`.
    public var username: String?
    public var password: String?
    /// 0 in a cluster.
    public var database: Int
    /// For TCP, TLS and the greeting together.
    public var connectTimeout: Duration
    /// From the call to its result, with all that is sent again.
    public var commandTimeout: Duration
    /// That wait or are under way; a call beyond that fails at once.
    public var commandsMax: Int

    public init(
        seeds: [NetworkAddress], topology: Topology = .automatic, security: Security = .plaintext, username: String? = nil,
        password: String? = nil, database: Int = 0, connectTimeout: Duration = .seconds(2), commandTimeout: Duration = .seconds(2),
        commandsMax: Int = 65_536
    ) {
        self.seeds = seeds
        self.topology = topology
        self.security = security
        self.username = username
        self.password = password
        self.database = database
        self.connectTimeout = connectTimeout
        self.commandTimeout = commandTimeout
        self.commandsMax = commandsMax
    }

    /// `redis://[[user]:password@]host[:port][,host[:port] …][/database][?cluster=true|false&ca=FILE&verify=true|false]`; `rediss` is TLS.
    /// - Throws: ``ApusError`` `invalid_argument`, without the password in it.
    public init(url: String) throws {
        guard let scheme = url.range(of: "://") else { throw Self.invalid("it has no scheme") }
        let isTLS: Bool
        switch url[..<scheme.lowerBound] {
        case "redis": isTLS = false
        case "rediss": isTLS = true
        default: throw Self.invalid("the scheme is redis or rediss")
        }
        var rest = url[scheme.upperBound...]
        var query: Substring = ""
        if let mark = rest.firstIndex(of: "?") {
            query = rest[rest.index(after: mark)...]
            rest = rest[..<mark]
        }
        var database = 0
        if let slash = rest.firstIndex(of: "/") {
            let path = rest[rest.index(after: slash)...]
            rest = rest[..<slash]
            guard path.isEmpty || (Int(path).map { $0 >= 0 } ?? false) else { throw Self.invalid("the path is the number of a database") }
            database = Int(path) ?? 0
        }
        self.init(seeds: [], database: database)
        if let at = rest.lastIndex(of: "@") {
            try setCredentials(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        seeds = try rest.split(separator: ",", omittingEmptySubsequences: false).map(Self.seed)
        try setOptions(query, isTLS: isTLS)
        guard topology != .cluster || database == 0 else { throw Self.invalid("a cluster has database 0 only") }
        guard topology != .single || seeds.count == 1 else { throw Self.invalid("a single server has one address") }
    }

    private mutating func setCredentials(_ text: Substring) throws {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let user = parts[0].removingPercentEncoding, let password = parts[1].removingPercentEncoding else {
            throw Self.invalid("before the @ stands user:password")
        }
        username = user.isEmpty ? nil : user
        self.password = password
    }

    private mutating func setOptions(_ query: Substring, isTLS: Bool) throws {
        var authority: String?
        var verifies = true
        for option in query.split(separator: "&") {
            let parts = option.split(separator: "=", maxSplits: 1).map { $0.removingPercentEncoding ?? String($0) }
            guard parts.count == 2 else { throw Self.invalid("an option is name=value") }
            switch (parts[0], parts[1]) {
            case ("cluster", "true"): topology = .cluster
            case ("cluster", "false"): topology = .single
            case ("ca", let file) where isTLS: authority = file
            case ("verify", "true") where isTLS: verifies = true
            case ("verify", "false") where isTLS: verifies = false
            default: throw Self.invalid("the option \(parts[0]) is not known here, or not with this value")
            }
        }
        security = isTLS ? .tls(authority: authority, verifies: verifies) : .plaintext
    }

    private static func seed(_ text: Substring) throws -> NetworkAddress {
        let text = String(text)
        guard let address = NetworkAddress(text) ?? NetworkAddress(text + ":6379"), address.port > 0 else {
            throw invalid("an address is host or host:port")
        }
        return address
    }

    private static func invalid(_ why: String) -> ApusError { ApusError(.invalidArgument, "the Redis URL is not valid: \(why)") }

    /// For logs: without the password.
    public var description: String {
        let scheme = security == .plaintext ? "redis" : "rediss"
        return "\(scheme)://\(seeds.map(\.description).joined(separator: ","))"
    }
}
#endif
