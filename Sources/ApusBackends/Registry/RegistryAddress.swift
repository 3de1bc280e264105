import ApusCore
import ApusProtocol
import Foundation

/// Which registry (and configuration centre) the nodes of a cluster use, as a person writes it.
///
///     zookeeper://a:2181,b:2181,c:2181/apus
///     nacos://user:password@a:8848,b:8848?namespace=chat&group=APUS&cluster=DEFAULT&service=apus&tls=true
public enum RegistryAddress: Sendable, Hashable {
    case zooKeeper(ZooKeeperConfiguration)
    case nacos(NacosConfiguration)

    /// - Throws: ``ApusError`` `invalid_argument` that says what is wrong; it never holds the password.
    public init(_ text: String) throws {
        guard let separator = text.range(of: "://") else { throw Self.refusal("'\(text)' has no scheme; zookeeper:// or nacos://") }
        let scheme = text[..<separator.lowerBound]
        let parts = try Parts(text[separator.upperBound...])
        switch scheme {
        case "zookeeper": self = .zooKeeper(try ZooKeeperConfiguration(parts))
        case "nacos": self = .nacos(try NacosConfiguration(parts))
        default: throw Self.refusal("'\(scheme)' is no registry; zookeeper or nacos")
        }
    }

    /// Any of them answers for all.
    public var servers: [NetworkAddress] {
        switch self {
        case .zooKeeper(let configuration): configuration.servers
        case .nacos(let configuration): configuration.servers
        }
    }

    static func refusal(_ what: String) -> ApusError { ApusError(.invalidArgument, "registry address: \(what)") }

    /// What both kinds of address are made of. `URLComponents` knows no lists of hosts.
    fileprivate struct Parts {
        var user: (name: String, password: String)?
        var hosts: [NetworkAddressParts] = []
        /// With its leading slash; empty when there is none.
        var path: String
        var query: [String: String] = [:]

        typealias NetworkAddressParts = (host: String, port: Int?)

        init(_ text: Substring) throws {
            let questionMark = text.firstIndex(of: "?") ?? text.endIndex
            let beforeQuery = text[..<questionMark]
            // A password may hold what a path may; the last @ ends it.
            let at = beforeQuery.lastIndex(of: "@")
            let hostsAndPath = at.map { beforeQuery[beforeQuery.index(after: $0)...] } ?? beforeQuery
            let slash = hostsAndPath.firstIndex(of: "/") ?? hostsAndPath.endIndex
            path = String(hostsAndPath[slash...])
            while path.hasSuffix("/") { path.removeLast() }
            if let at { user = try Self.user(beforeQuery[..<at]) }
            for host in hostsAndPath[..<slash].split(separator: ",", omittingEmptySubsequences: false) {
                hosts.append(try Self.host(host))
            }
            for item in text[questionMark...].dropFirst().split(separator: "&") {
                let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard pair.count == 2, let value = pair[1].removingPercentEncoding else {
                    throw refusal("'\(item)' is no name=value")
                }
                query[String(pair[0])] = value
            }
        }

        private static func user(_ text: Substring) throws -> (String, String) {
            let pair = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, let name = pair[0].removingPercentEncoding, let password = pair[1].removingPercentEncoding, !name.isEmpty
            else { throw refusal("before the @ stands user:password, percent-encoded") }
            return (name, password)
        }

        private static func host(_ text: Substring) throws -> NetworkAddressParts {
            if let address = NetworkAddress(String(text)), address.port > 0 { return (address.host, address.port) }
            // Without a port: a name, or an IPv6 address in brackets.
            guard let address = NetworkAddress("\(text):1") else { throw refusal("'\(text)' is no HOST or HOST:PORT") }
            return (address.host, nil)
        }

        func addresses(defaultPort: Int) -> [NetworkAddress] {
            hosts.map { NetworkAddress(host: $0.host, port: $0.port ?? defaultPort) }
        }

        func refuseQuery(except known: Set<String>) throws {
            for name in query.keys.sorted() where !known.contains(name) { throw refusal("there is no parameter '\(name)'") }
        }
    }
}

/// Where a ZooKeeper ensemble is and what part of its tree is ours.
public struct ZooKeeperConfiguration: Sendable, Hashable {
    public var servers: [NetworkAddress]
    /// An absolute path; nodes are registered under `<root>/nodes`, documents are at `<root>/config/<name>`.
    public var root: String
    /// A node that was not heard of for so long is gone. The server bounds it to 2…20 of its ticks.
    public var sessionTimeout: Duration
    /// Of one call.
    public var callTimeout: Duration

    public init(
        servers: [NetworkAddress], root: String = "/apus", sessionTimeout: Duration = .seconds(6), callTimeout: Duration = .seconds(10)
    ) {
        self.servers = servers
        self.root = root
        self.sessionTimeout = sessionTimeout
        self.callTimeout = callTimeout
    }

    fileprivate init(_ parts: RegistryAddress.Parts) throws {
        try parts.refuseQuery(except: [])
        guard parts.user == nil else { throw RegistryAddress.refusal("ZooKeeper is used without user and password") }
        let names = parts.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard names.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && $0 != "zookeeper" }) else {
            throw RegistryAddress.refusal("'\(parts.path)' is no path in ZooKeeper's tree")
        }
        self.init(servers: parts.addresses(defaultPort: 2181), root: parts.path.isEmpty ? "/apus" : parts.path)
    }
}

/// Where Nacos is and under what names nodes are registered there.
public struct NacosConfiguration: Sendable, Hashable, CustomStringConvertible {
    public struct Login: Sendable, Hashable {
        public var username: String
        public var password: String

        public init(username: String, password: String) {
            self.username = username
            self.password = password
        }
    }

    /// The members of one Nacos cluster; any of them will do.
    public var servers: [NetworkAddress]
    public var login: Login?
    /// The id of a namespace; empty: `public`.
    public var namespace: String
    public var group: String
    /// Of the instances: digits, letters and dashes.
    public var cluster: String
    /// The service whose instances the nodes are.
    public var service: String
    public var usesTLS: Bool
    /// `server.servlet.contextPath` of Nacos.
    public var contextPath: String
    /// How often a node says that it lives.
    public var beatInterval: Duration
    /// After so long without a beat a node is gone (Nacos looks every 5 s).
    var beatTimeout: Duration { beatInterval * 3 }
    /// How often the list of nodes is asked for.
    public var pollInterval: Duration
    /// Of one request to one server.
    public var callTimeout: Duration
    /// How long Nacos holds a listener's request back when nothing changes; it takes 10 s for less.
    public var longPollTimeout: Duration

    public init(
        servers: [NetworkAddress], login: Login? = nil, namespace: String = "", group: String = "DEFAULT_GROUP",
        cluster: String = "DEFAULT",
        service: String = "apus", usesTLS: Bool = false, contextPath: String = "/nacos", beatInterval: Duration = .seconds(2),
        pollInterval: Duration = .seconds(1), callTimeout: Duration = .seconds(3), longPollTimeout: Duration = .seconds(30)
    ) {
        self.servers = servers
        self.login = login
        self.namespace = namespace
        self.group = group
        self.cluster = cluster
        self.service = service
        self.usesTLS = usesTLS
        self.contextPath = contextPath
        self.beatInterval = beatInterval
        self.pollInterval = pollInterval
        self.callTimeout = callTimeout
        self.longPollTimeout = longPollTimeout
    }

    fileprivate init(_ parts: RegistryAddress.Parts) throws {
        try parts.refuseQuery(except: ["namespace", "group", "cluster", "service", "tls"])
        self.init(servers: parts.addresses(defaultPort: 8848))
        login = parts.user.map { Login(username: $0.name, password: $0.password) }
        // `public` is what the console calls it; the configuration API knows it by the empty id only.
        if let namespace = parts.query["namespace"], namespace != "public" { self.namespace = namespace }
        if let group = parts.query["group"] { self.group = group }
        if let cluster = parts.query["cluster"] { self.cluster = cluster }
        if let service = parts.query["service"] { self.service = service }
        switch parts.query["tls"] {
        case nil, "false": break
        case "true": usesTLS = true
        case let other?: throw RegistryAddress.refusal("tls is true or false, not '\(other)'")
        }
        if !parts.path.isEmpty { contextPath = parts.path }
        try check()
    }

    /// What Nacos would refuse: its `ParamCheckRule` (2.3.2) and `Constants.CLUSTER_NAME_PATTERN_STRING`.
    private func check() throws {
        func isName(_ text: String, extra: String, charactersMax: Int, mayBeEmpty: Bool = false) -> Bool {
            (mayBeEmpty || !text.isEmpty) && text.count <= charactersMax
                && text.allSatisfy { ($0.isASCII && ($0.isLetter || $0.isNumber)) || extra.contains($0) }
        }
        guard isName(namespace, extra: "-_", charactersMax: 64, mayBeEmpty: true) else {
            throw RegistryAddress.refusal("'\(namespace)' is no id of a namespace")
        }
        guard isName(group, extra: "-_:.", charactersMax: 128) else { throw RegistryAddress.refusal("'\(group)' is no group") }
        guard isName(cluster, extra: "-", charactersMax: 64) else { throw RegistryAddress.refusal("'\(cluster)' is no cluster") }
        guard isName(service, extra: "-_:.", charactersMax: 512) else { throw RegistryAddress.refusal("'\(service)' is no service") }
    }

    /// Without the password: this may end in a log.
    public var description: String {
        "nacos://\(servers.map(\.description).joined(separator: ","))?namespace=\(namespace)&group=\(group)&service=\(service)"
    }
}
