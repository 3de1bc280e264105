import Foundation

/// What keeps a cluster's data: MariaDB and ZooKeeper, and the part of them that is this cluster's own.
public struct ClusterMiddleware: Sendable {
    public let mariaDB: MariaDBServer
    public let zooKeeper: MiddlewareProcess
    /// `HOST:PORT`
    private let registry: String
    /// Its database, and its path in ZooKeeper.
    var name = MariaDBServer.database

    /// Settings of every node.
    var environment: [String: String] {
        [
            "APUS_CLUSTER_STORE": mariaDB.url(database: name),
            "APUS_CLUSTER_REGISTRY": "zookeeper://\(registry)/\(name)",
        ]
    }

    /// Starts both with their data in folders of `directory`. Whoever does it kills them in the end.
    ///
    /// - Parameter address: where they listen beside 127.0.0.1, for nodes that do not reach that.
    static func start(
        in directory: URL, storePort: Int, registryPort: Int, address: String? = nil, syncsToDisk: Bool = true
    ) async throws -> ClusterMiddleware {
        let folders = try ["zookeeper", "mariadb"].map { name in
            let folder = directory.appending(path: name)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            return folder
        }
        let zooKeeper = MiddlewareProcess(
            try ZooKeeperServer.plan(directory: folders[0], port: registryPort, isOpen: address != nil))
        do {
            try await zooKeeper.start()
            let mariaDB = try await MariaDBServer(directory: folders[1], port: storePort, syncsToDisk: syncsToDisk, address: address)
            return ClusterMiddleware(mariaDB: mariaDB, zooKeeper: zooKeeper, registry: "\(address ?? "127.0.0.1"):\(registryPort)")
        } catch {
            await zooKeeper.kill()
            throw error
        }
    }

    func kill() async {
        for process in [zooKeeper, mariaDB.process] { await process.kill() }
    }
}

/// Servers for many small clusters, because starting them takes longer than most tests: each cluster has a database and a path in
/// ZooKeeper of its own. They start when the first cluster needs them, and end with ``with(isolation:_:)``.
///
/// What a cluster of these does to MariaDB or ZooKeeper themselves, it does to all.
public actor SharedServers {
    private let directory: URL
    private var servers: Task<ClusterMiddleware, any Error>?
    private var partsGiven = 0

    public static func with<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (SharedServers) async throws -> Result
    ) async throws -> Result {
        // Short: the path of a socket file has to fit into some hundred bytes.
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-s-\(UUID().uuidString.prefix(8))")
        let shared = SharedServers(directory: directory)
        defer { try? FileManager.default.removeItem(at: directory) }
        do {
            let result = try await body(shared)
            await shared.end()
            return result
        } catch {
            await shared.end()
            throw error
        }
    }

    private init(directory: URL) { self.directory = directory }

    /// An empty part for one cluster.
    func part() async throws -> ClusterMiddleware {
        var part = try await running()
        partsGiven += 1
        part.name = "\(MariaDBServer.database)\(partsGiven)"
        try await part.mariaDB.ask("CREATE DATABASE \(part.name) CHARACTER SET utf8mb4")
        return part
    }

    /// The cluster has ended.
    func takeBack(_ part: ClusterMiddleware) async throws { try await part.mariaDB.ask("DROP DATABASE \(part.name)") }

    private func running() async throws -> ClusterMiddleware {
        let directory = directory
        // Does not end with the test that happens to be the first.
        let servers =
            servers
            ?? Task {
                let ports = try await MiddlewareProcess.lastingPorts(2)
                return try await ClusterMiddleware.start(in: directory, storePort: ports[0], registryPort: ports[1], syncsToDisk: false)
            }
        self.servers = servers
        return try await servers.value
    }

    private func end() async {
        if let running = try? await servers?.value { await running.kill() }
    }
}
