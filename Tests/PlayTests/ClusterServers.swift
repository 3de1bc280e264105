import AsyncHTTPClient
import Foundation

@testable import ApusChaos

/// The servers of a cluster, each started when a story wants it, on ports that are known before.
final class ClusterServers {
    let redisPort: Int
    let zooKeeperPort: Int
    let mariaDBPort: Int
    private let directory: URL
    private(set) var redis: MiddlewareProcess?
    private(set) var mariaDB: MiddlewareProcess?
    private var started: [MiddlewareProcess] = []

    /// None runs yet; all are gone afterwards.
    static func with(
        isolation: isolated (any Actor)? = #isolation, _ body: (ClusterServers) async throws -> Void
    ) async throws {
        // Short: the path of a socket file has to fit into some hundred bytes.
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-w-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: directory) }
        var ports: Set<Int> = []
        while ports.count < 3 { ports.insert(try await MiddlewareProcess.freePort()) }
        let servers = ClusterServers(directory, Array(ports))
        do {
            try await body(servers)
            await servers.end()
        } catch {
            await servers.end()
            throw error
        }
    }

    private init(_ directory: URL, _ ports: [Int]) {
        self.directory = directory
        (redisPort, zooKeeperPort, mariaDBPort) = (ports[0], ports[1], ports[2])
    }

    private func end() async {
        for process in started { await process.kill() }
    }

    private func folder(_ name: String) throws -> URL {
        let folder = directory.appending(path: name)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    // MARK: Starting

    func startRedis() async throws {
        let process = MiddlewareProcess(RedisServer.plan(directory: try folder("redis"), port: redisPort))
        (redis, started) = (process, started + [process])
        try await process.start()
    }

    func startZooKeeper() async throws {
        let process = MiddlewareProcess(try ZooKeeperServer.plan(directory: try folder("zookeeper"), port: zooKeeperPort))
        started.append(process)
        try await process.start()
    }

    func startMariaDB() async throws {
        let server = try await MariaDBServer(directory: try folder("mariadb"), port: mariaDBPort, syncsToDisk: false)
        (mariaDB, started) = (server.process, started + [server.process])
    }

    func startAll() async throws {
        try await startRedis()
        try await startZooKeeper()
        try await startMariaDB()
    }

    // MARK: Nodes

    /// The settings of a node of this cluster.
    func environment(password: String = MariaDBServer.password, database: String = MariaDBServer.database) -> [String: String] {
        [
            "APUS_CLUSTER_STORE": "mysql://\(MariaDBServer.user):\(password)@127.0.0.1:\(mariaDBPort)/\(database)",
            "APUS_CLUSTER_REDIS": "redis://127.0.0.1:\(redisPort)",
            "APUS_CLUSTER_REGISTRY": "zookeeper://127.0.0.1:\(zooKeeperPort)/apus",
            "APUS_CLUSTER_SECRET": "a secret of the tests, 32 characters or more",
        ]
    }

    /// A node that was told to start; ready or not. It is gone afterwards.
    func withNode<Result>(
        _ arguments: [String], environment: [String: String]? = nil, isolation: isolated (any Actor)? = #isolation,
        _ body: (ServerProcess, Task<ServerProcess.Endpoints, any Error>) async throws -> Result
    ) async throws -> Result {
        let options = try ServerProcess.Options(
            arguments: ["--drain-seconds", "0", "--threads", "1"] + arguments, environment: environment ?? self.environment())
        let server = ServerProcess(options, data: try folder("node-\(UUID().uuidString.prefix(8))"))
        let start = Task { try await server.start() }
        do {
            let result = try await body(server, start)
            await server.kill()
            _ = await start.result
            return result
        } catch {
            await server.kill()
            _ = await start.result
            throw error
        }
    }

    // MARK: The configuration centre

    /// Writes a document with ZooKeeper's own tool, as a person would.
    func write(_ text: String, to name: String = "apus.yaml") async throws {
        let path = "/apus/config/\(name)"
        if try await zooKeeper("set", path, text).contains("Node does not exist") {
            for parent in ["/apus", "/apus/config"] { _ = try await zooKeeper("create", parent) }
            _ = try await zooKeeper("create", path, text)
        }
    }

    private func zooKeeper(_ command: String...) async throws -> String {
        let result = try await Command.run(
            try Command.locate("java"),
            [
                "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", "/usr/share/java/zookeeper.jar", "org.apache.zookeeper.ZooKeeperMain",
                "-server", "127.0.0.1:\(zooKeeperPort)",
            ] + command, timeout: .seconds(30))
        return result.output + result.errors
    }
}

/// What a node answers about itself.
struct NodeHealth: Decodable, Equatable {
    var httpStatus: UInt = 0
    var status: String
    var missing: [String]?

    private enum CodingKeys: String, CodingKey { case status, missing }

    /// Nil while nobody listens there.
    static func of(_ address: String, _ path: String = "/readyz") async throws -> NodeHealth? {
        let request = HTTPClientRequest(url: "http://\(address)\(path)")
        guard let response = try? await HTTPClient.shared.execute(request, timeout: .seconds(5)) else { return nil }
        var health = try JSONDecoder().decode(NodeHealth.self, from: Data(buffer: try await response.body.collect(upTo: 4096)))
        health.httpStatus = response.status.code
        return health
    }

    /// Returns when the node says what is wanted. There is no event for it: it is asked.
    static func become(
        _ wanted: NodeHealth, at address: String, within limit: Duration = .seconds(60)
    ) async throws {
        let deadline = ContinuousClock.now + limit
        var last: NodeHealth?
        repeat {
            last = try await of(address)
            if last == wanted { return }
            try await Task.sleep(for: .milliseconds(50))
        } while ContinuousClock.now < deadline
        throw ServerProcessError("\(address) answers \(last.map { "\($0)" } ?? "nothing") and not \(wanted)")
    }

    static let ready = NodeHealth(httpStatus: 200, status: "ready")
    static func waiting(_ missing: String...) -> NodeHealth { NodeHealth(httpStatus: 503, status: "waiting", missing: missing) }
}
