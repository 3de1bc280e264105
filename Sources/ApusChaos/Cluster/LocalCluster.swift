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
        /// The program `weed`, or where it is: then the cluster has an object store. Nil: none. Not with ``hasNetwork``.
        public var weed: String?
        /// Keeps everything there; nil: a temporary directory that is removed at the end.
        public var directory: URL?
        /// What hands over between socket nodes.
        public var relay = RelayKind.peer
        /// Whether the nodes speak TLS with each other, with certificates of an authority of the cluster's own.
        public var isEncrypted = false
        /// Nil: MariaDB and ZooKeeper of its own.
        public var shared: SharedServers?
        /// Each node has an address and a network namespace of its own, in the one of this process (``NetworkNamespace``).
        public var hasNetwork = false

        public init(
            nodes: [String: Int] = ["gateway": 1, "auth": 1, "user": 1, "web": 1, "socket": 2], binary: URL? = nil,
            settings: [String] = [], gateway: String? = nil, directory: URL? = nil, shared: SharedServers? = nil
        ) throws {
            self.nodes = nodes
            self.binary = try binary ?? ApusBinary.locate()
            self.settings = settings
            self.gateway = gateway
            self.directory = directory
            self.shared = shared
        }

        /// Not running yet.
        fileprivate func objectStore(in directory: URL) async throws -> SeaweedServer? {
            guard let weed else { return nil }
            guard !hasNetwork else {
                throw ServerProcessError("nodes with addresses of their own cannot reach an object store on loopback")
            }
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            return try await SeaweedServer(program: weed, directory: directory)
        }

        /// Settings of a cluster that is tested: nobody is held back by limits, and nobody waits for a drain.
        public static let forTests = withoutLimits + ["--drain-seconds", "1"]

        public static let withoutLimits = [
            "logins-per-address", "logins-per-account", "registrations-per-address", "requests-per-account", "requests-per-address",
        ].flatMap { ["--limits-\($0)", "0"] }
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
        /// In a cluster with a network.
        public var place: ClusterNetwork.Place?
    }

    public nonisolated let servers: ClusterMiddleware
    public nonisolated let redis: MiddlewareProcess
    public nonisolated let redisPort: Int
    /// SeaweedFS; nil: the cluster has no object store.
    public nonisolated let objects: SeaweedServer?
    /// Of ``RelayKind/nats``.
    public nonisolated let nats: MiddlewareProcess?
    /// Of a cluster that is encrypted.
    public nonisolated let authority: CertificateAuthority?
    /// What makes a process a node of this cluster.
    public nonisolated let environment: [String: String]
    public nonisolated let network: ClusterNetwork?
    /// In the order in which they were started: the gateways last.
    public nonisolated let nodes: [Node]
    private let shared: SharedServers?

    public nonisolated var mariaDB: MariaDBServer { servers.mariaDB }
    public nonisolated var zooKeeper: MiddlewareProcess { servers.zooKeeper }

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
        servers: ClusterMiddleware, redis: MiddlewareProcess, redisPort: Int, nats: MiddlewareProcess?, objects: SeaweedServer?,
        authority: CertificateAuthority?, network: ClusterNetwork?, environment: [String: String], nodes: [Node], shared: SharedServers?
    ) {
        self.nats = nats
        self.authority = authority
        self.environment = environment
        self.objects = objects
        self.network = network
        self.servers = servers
        self.redis = redis
        self.redisPort = redisPort
        self.nodes = nodes
        self.shared = shared
    }

    /// The servers run, the nodes do not yet.
    private static func make(_ options: Options, directory: URL) async throws -> LocalCluster {
        if options.hasNetwork, options.shared != nil { throw ServerProcessError("a cluster with a network has servers of its own") }
        let redisFolder = directory.appending(path: "redis")
        try FileManager.default.createDirectory(at: redisFolder, withIntermediateDirectories: true)
        let objects = try await options.objectStore(in: directory.appending(path: "seaweed"))
        let free = try await MiddlewareProcess.lastingPorts(4)
        let ports = ClusterNetwork.ServerPorts(store: free[0], redis: free[1], registry: free[2], relay: free[3])
        let network = options.hasNetwork ? try await ClusterNetwork(ports) : nil
        let redis = MiddlewareProcess(RedisServer.plan(directory: redisFolder, port: ports.redis, address: network?.hub))
        let nats = options.relay == .nats ? MiddlewareProcess(NATSServer.plan(port: ports.relay, isOpen: network != nil)) : nil
        var started: ClusterMiddleware?
        do {
            try await redis.start()
            try await objects?.process.start()
            try await nats?.start()
            let servers =
                if let shared = options.shared {
                    try await shared.part()
                } else {
                    try await ClusterMiddleware.start(
                        in: directory, storePort: ports.store, registryPort: ports.registry, address: network?.hub)
                }
            started = servers
            let host = network?.hub ?? "127.0.0.1"
            var environment = [
                "APUS_CLUSTER_REDIS": "redis://\(host):\(ports.redis)",
                "APUS_CLUSTER_SECRET": (0..<8).map { _ in String(UInt32.random(in: .min ... .max), radix: 16) }.joined(separator: "-"),
            ]
            environment.merge(servers.environment) { $1 }
            environment.merge(objects?.settings ?? [:]) { $1 }
            if nats != nil { environment["APUS_CLUSTER_RELAY"] = "nats://\(host):\(ports.relay)" }
            let authority = try await options.authority(in: directory.appending(path: "certificates"))
            environment.merge(try await authority?.nodeSettings() ?? [:]) { $1 }
            let nodes = try await makeNodes(options, directory: directory, network: network, environment: environment)
            return LocalCluster(
                servers: servers, redis: redis, redisPort: ports.redis, nats: nats, objects: objects, authority: authority,
                network: network,
                environment: environment, nodes: nodes, shared: options.shared)
        } catch {
            if options.shared == nil { await started?.kill() }
            for process in [redis, nats] { await process?.kill() }
            await objects?.process.kill()
            await network?.end()
            throw error
        }
    }

    private static func makeNodes(
        _ options: Options, directory: URL, network: ClusterNetwork?, environment: [String: String]
    ) async throws -> [Node] {
        var nodes: [Node] = []
        for role in startOrder {
            for number in 0..<(options.nodes[role] ?? 0) {
                var listeners = options.settings
                if role == "gateway", number == 0, let gateway = options.gateway { listeners += ["--gateway", gateway] }
                let name = "\(role) \(number + 1)"
                var process = try ServerProcess.Options(
                    binary: options.binary, arguments: ["--roles", role, "--threads", "1"] + listeners, environment: environment)
                let place = try await network?.addNode()
                if let place { (process.host, process.launcher) = (place.address, place.launcher) }
                let data = directory.appending(path: name.replacing(" ", with: "-"))
                nodes.append(Node(name: name, role: role, process: ServerProcess(process, data: data), place: place))
            }
        }
        return nodes
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

    /// SIGTERM to all nodes that run, clients' entrance first.
    public func terminateNodes() async throws {
        for node in nodes.reversed() where await node.process.isRunning { try await node.process.terminate() }
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
        for process in [redis, nats] { await process?.kill() }
        await objects?.process.kill()
        if let shared {
            // What is left of it is gone with the server.
            try? await shared.takeBack(servers)
        } else {
            await servers.kill()
        }
        await network?.end()
    }
}

extension LocalCluster.Options {
    fileprivate func authority(in directory: URL) async throws -> CertificateAuthority? {
        guard isEncrypted else { return nil }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        return try await CertificateAuthority(directory: directory)
    }
}

extension CertificateAuthority {
    /// The settings of a node that has a certificate of this authority.
    fileprivate func nodeSettings() async throws -> [String: String] {
        let issued = try await issue("node")
        return [
            "APUS_CLUSTER_CERTIFICATE": issued.certificate, "APUS_CLUSTER_KEY": issued.key, "APUS_CLUSTER_AUTHORITY": certificate,
        ]
    }
}
