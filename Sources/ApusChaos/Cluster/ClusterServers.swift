import Foundation

/// What keeps a cluster's data: MariaDB and ZooKeeper, and the part of them that is this cluster's own.
public struct ClusterServers: Sendable {
    public let mariaDB: MariaDBServer
    public let zooKeeper: MiddlewareProcess
    let zooKeeperPort: Int
    /// Its database, and its path in ZooKeeper.
    var name = MariaDBServer.database

    /// Settings of every node.
    var environment: [String: String] {
        [
            "APUS_CLUSTER_STORE": mariaDB.url(database: name),
            "APUS_CLUSTER_REGISTRY": "zookeeper://127.0.0.1:\(zooKeeperPort)/\(name)",
        ]
    }

    /// Starts both with their data in folders of `directory`. Whoever does it kills them in the end.
    static func start(in directory: URL, syncsToDisk: Bool = true) async throws -> ClusterServers {
        let folders = try ["zookeeper", "mariadb"].map { name in
            let folder = directory.appending(path: name)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            return folder
        }
        let zooKeeperPort = try await MiddlewareProcess.freePort()
        let zooKeeper = MiddlewareProcess(try ZooKeeperServer.plan(directory: folders[0], port: zooKeeperPort))
        do {
            try await zooKeeper.start()
            let mariaDB = try await MariaDBServer(
                directory: folders[1], port: try await MiddlewareProcess.freePort(), syncsToDisk: syncsToDisk)
            return ClusterServers(mariaDB: mariaDB, zooKeeper: zooKeeper, zooKeeperPort: zooKeeperPort)
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
    private var servers: Task<ClusterServers, any Error>?
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
    func part() async throws -> ClusterServers {
        var part = try await running()
        partsGiven += 1
        part.name = "\(MariaDBServer.database)\(partsGiven)"
        try await part.mariaDB.ask("CREATE DATABASE \(part.name) CHARACTER SET utf8mb4")
        return part
    }

    /// The cluster has ended.
    func takeBack(_ part: ClusterServers) async throws { try await part.mariaDB.ask("DROP DATABASE \(part.name)") }

    private func running() async throws -> ClusterServers {
        let directory = directory
        // Does not end with the test that happens to be the first.
        let servers = servers ?? Task { try await ClusterServers.start(in: directory, syncsToDisk: false) }
        self.servers = servers
        return try await servers.value
    }

    private func end() async {
        if let running = try? await servers?.value { await running.kill() }
    }
}
