import Foundation

/// A whole cluster on this machine, on loopback: MariaDB, Redis, ZooKeeper, and one process for each node. Nothing of it outlives
/// ``with(_:_:)``, nor the process that started it.
public actor LocalCluster {
    public struct Options: Sendable {
        /// How many nodes of each role: `["gateway": 1, …]`.
        public var nodes: [String: Int]
        public var binary: URL
        /// Settings of every node.
        public var settings: [String]
        /// Where the first gateway listens; nil: any free port.
        public var gateway: String?
        /// Keeps everything there; nil: a temporary directory that is removed at the end.
        public var directory: URL?
        /// What hands over between socket nodes.
        public var relay = RelayKind.peer
        /// Whether the nodes speak TLS with each other, with certificates of an authority of the cluster's own.
        public var isEncrypted = false

        public init(
            nodes: [String: Int] = ["gateway": 1, "auth": 1, "user": 1, "web": 1, "socket": 2], binary: URL? = nil,
            settings: [String] = [], gateway: String? = nil, directory: URL? = nil
        ) throws {
            self.nodes = nodes
            self.binary = try binary ?? ApusBinary.locate()
            self.settings = settings
            self.gateway = gateway
            self.directory = directory
        }

        /// Settings of a cluster that is tested: nobody is held back by limits, and nobody waits for a drain.
        public static let forTests =
            [
                "logins-per-address", "logins-per-account", "registrations-per-address", "requests-per-account", "requests-per-address",
            ].flatMap { ["--limits-\($0)", "0"] } + ["--drain-seconds", "1"]
    }

    public enum RelayKind: Sendable {
        case peer, nats
    }

    /// One process of Apus.
    public struct Node: Sendable {
        /// `socket 2`.
        public var name: String
        public var role: String
        public var process: ServerProcess
    }

    public nonisolated let mariaDB: MariaDBServer
    public nonisolated let redis: MiddlewareProcess
    public nonisolated let redisPort: Int
    public nonisolated let zooKeeper: MiddlewareProcess
    /// Of ``RelayKind/nats``.
    public nonisolated let nats: MiddlewareProcess?
    /// Of a cluster that is encrypted.
    public nonisolated let authority: CertificateAuthority?
    /// What makes a process a node of this cluster.
    public nonisolated let environment: [String: String]
    /// In the order in which they were started: the gateways last.
    public nonisolated let nodes: [Node]

    /// The order in which nodes start: each can ask those before it.
    private static let startOrder = ["auth", "user", "web", "socket", "gateway", "all"]

    /// Starts a cluster, hands it over, and kills it at the end.
    public static func with<Result: Sendable>(
        _ options: Options, isolation: isolated (any Actor)? = #isolation, _ body: (LocalCluster) async throws -> Result
    ) async throws -> Result {
        // Short: the path of a socket file has to fit into some hundred bytes.
        let temporary = FileManager.default.temporaryDirectory.appending(path: "apus-c-\(UUID().uuidString.prefix(8))")
        let directory = options.directory ?? temporary
        defer { try? FileManager.default.removeItem(at: temporary) }
        let cluster = try await make(options, directory: directory)
        do {
            try await cluster.startNodes()
            let result = try await body(cluster)
            await cluster.end()
            return result
        } catch {
            await cluster.end()
            throw error
        }
    }

    private init(
        mariaDB: MariaDBServer, redis: MiddlewareProcess, redisPort: Int, zooKeeper: MiddlewareProcess, nats: MiddlewareProcess?,
        authority: CertificateAuthority?, environment: [String: String], nodes: [Node]
    ) {
        self.nats = nats
        self.authority = authority
        self.environment = environment
        self.mariaDB = mariaDB
        self.redis = redis
        self.redisPort = redisPort
        self.zooKeeper = zooKeeper
        self.nodes = nodes
    }

    /// The servers run, the nodes do not yet.
    private static func make(_ options: Options, directory: URL) async throws -> LocalCluster {
        func folder(_ name: String) throws -> URL {
            let folder = directory.appending(path: name)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            return folder
        }
        let redisPort = try await MiddlewareProcess.freePort()
        let zooKeeperPort = try await MiddlewareProcess.freePort()
        let redis = MiddlewareProcess(RedisServer.plan(directory: try folder("redis"), port: redisPort))
        let zooKeeper = MiddlewareProcess(try ZooKeeperServer.plan(directory: try folder("zookeeper"), port: zooKeeperPort))
        let natsPort = try await MiddlewareProcess.freePort()
        let nats = options.relay == .nats ? MiddlewareProcess(NATSServer.plan(port: natsPort)) : nil
        let authority = options.isEncrypted ? try await CertificateAuthority(directory: try folder("certificates")) : nil
        let mariaDB: MariaDBServer
        do {
            try await zooKeeper.start()
            try await redis.start()
            try await nats?.start()
            mariaDB = try await MariaDBServer(directory: try folder("mariadb"), port: try await MiddlewareProcess.freePort())
        } catch {
            for process in [redis, zooKeeper, nats] { await process?.kill() }
            throw error
        }
        var environment = [
            "APUS_CLUSTER_STORE": mariaDB.url(), "APUS_CLUSTER_REDIS": "redis://127.0.0.1:\(redisPort)",
            "APUS_CLUSTER_REGISTRY": "zookeeper://127.0.0.1:\(zooKeeperPort)/apus",
            "APUS_CLUSTER_SECRET": (0..<8).map { _ in String(UInt32.random(in: .min ... .max), radix: 16) }.joined(separator: "-"),
        ]
        if nats != nil { environment["APUS_CLUSTER_RELAY"] = "nats://127.0.0.1:\(natsPort)" }
        if let authority {
            let issued = try await authority.issue("node")
            environment["APUS_CLUSTER_CERTIFICATE"] = issued.certificate
            environment["APUS_CLUSTER_KEY"] = issued.key
            environment["APUS_CLUSTER_AUTHORITY"] = authority.certificate
        }
        var nodes: [Node] = []
        for role in startOrder {
            for number in 0..<(options.nodes[role] ?? 0) {
                var listeners = options.settings
                if role == "gateway", number == 0, let gateway = options.gateway { listeners += ["--gateway", gateway] }
                let name = "\(role) \(number + 1)"
                let process = ServerProcess(
                    try .init(
                        binary: options.binary, arguments: ["--roles", role, "--threads", "1"] + listeners, environment: environment),
                    data: directory.appending(path: name.replacing(" ", with: "-")))
                nodes.append(Node(name: name, role: role, process: process))
            }
        }
        return LocalCluster(
            mariaDB: mariaDB, redis: redis, redisPort: redisPort, zooKeeper: zooKeeper, nats: nats,
            authority: authority, environment: environment, nodes: nodes)
    }

    // MARK: Nodes

    /// Starts all nodes and returns when each of them takes part.
    public func startNodes() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in nodes { group.addTask { try await node.process.start() } }
            try await group.waitForAll()
        }
    }

    /// `kill -9` of all nodes.
    public func killNodes() async {
        await withTaskGroup(of: Void.self) { group in
            for node in nodes { group.addTask { await node.process.kill() } }
        }
    }

    /// SIGTERM to all nodes, clients' entrance first.
    public func terminateNodes() async throws {
        for node in nodes.reversed() { try await node.process.terminate() }
    }

    public nonisolated func nodes(of role: String) -> [Node] { nodes.filter { $0.role == role } }

    /// The listeners of a client's view: the first gateway's HTTP, the first socket node's carriers.
    public func endpoints() async throws -> ServerProcess.Endpoints {
        guard var endpoints = await nodes(of: "socket").first?.process.endpoints,
            let gateway = await nodes(of: "gateway").first?.process.endpoints?.gateway
        else { throw ServerProcessError("the cluster has no gateway or no socket node that runs") }
        endpoints.http = gateway
        return endpoints
    }

    /// The end of every node's log.
    public nonisolated func logTail(lines: Int = 12) -> String {
        nodes.map { "\($0.name):\n\($0.process.log.tail(lines: lines))" }.joined(separator: "\n")
    }

    private func end() async {
        await killNodes()
        for process in [zooKeeper, redis, mariaDB.process, nats] { await process?.kill() }
    }
}
