import ApusChaos
import ArgumentParser
import Foundation

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Run a small cluster on this machine: MariaDB, Redis, ZooKeeper, SeaweedFS and some processes of each role.",
        discussion: """
            For trying Apus out and for tests: everything listens on loopback, and ends with this command. Needs the programs mariadbd, \
            redis-server and java with ZooKeeper, for an object store weed (SeaweedFS), and a build with the trait Cluster (`make cluster` sees \
            to all). Prints one line of JSON with the one address to use, and the processes. Settings of the nodes follow after `--`: \
            `apus cluster -- --log-level debug --limits-registrations-per-address 0`.
            """)

    @Option(help: "Where the cluster keeps its data.")
    var data = "./data/cluster"

    @Option(help: "Where the gateway listens.")
    var gateway = "127.0.0.1:8080"

    @Option(help: "Processes of each role; the first gateway has the address, a second one any port.")
    var each = 2

    @Option(help: "Processes of the socket role, where it is not as many.")
    var socketNodes: Int?

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Settings of every node, as `apus serve` takes them.", valueName: "settings"))
    var settings: [String] = []

    private struct Ready: Encodable {
        var event = "ready"
        var http: String
        var nodes: [Node]

        struct Node: Encodable {
            var name: String
            var pid: Int32?
            /// Of a socket node.
            var socket: String?
            var tcp: String?
        }
    }

    func validate() throws {
        guard (1...16).contains(each), (1...16).contains(socketNodes ?? each) else {
            throw ValidationError("1 to 16 processes of each role")
        }
    }

    func run() async throws {
        let roles = ["gateway", "auth", "user", "web", "socket"]
        let directory = URL(filePath: data)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        var nodes = Dictionary(uniqueKeysWithValues: roles.map { ($0, each) })
        nodes["socket"] = socketNodes ?? each
        let usual = [("--auth-password-cost", "15"), ("--log-level", "info")].filter { !settings.contains($0.0) }
        var options = try LocalCluster.Options(
            nodes: nodes, settings: usual.flatMap { [$0.0, $0.1] } + settings, gateway: gateway, directory: directory.absoluteURL)
        options.weed = try? Command.locate("weed").path
        let others = options.weed == nil ? "" : ", SeaweedFS"
        if options.weed == nil { StandardError.write("the program weed (SeaweedFS) is not installed: this cluster has no object store\n") }
        StandardError.write("starting MariaDB, Redis, ZooKeeper\(others) and \(nodes.values.reduce(0, +)) nodes\n")
        try await LocalCluster.with(options) { cluster in
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            var nodes: [Ready.Node] = []
            for node in cluster.nodes {
                let endpoints = await node.process.endpoints
                nodes.append(
                    .init(
                        name: node.name, pid: await node.process.processID, socket: node.role == "socket" ? endpoints?.socket : nil,
                        tcp: node.role == "socket" ? endpoints?.tcp : nil))
            }
            let ready = Ready(http: try await cluster.endpoints().http, nodes: nodes)
            try FileHandle.standardOutput.write(contentsOf: try encoder.encode(ready) + Data("\n".utf8))
            try await Self.watch(cluster) {
                await Self.untilTold()
                StandardError.write("stopping\n")
            }
        }
    }

    /// Stops the nodes after `body`, and says meanwhile which of them ended otherwise. It is not started again: whoever tries a cluster out
    /// wants to see what happens.
    private static func watch(_ cluster: LocalCluster, until body: () async -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in cluster.nodes {
                group.addTask {
                    // Ends with the node, whoever ended it.
                    guard let exit = try await node.process.exit(), !Task.isCancelled else { return }
                    StandardError.write("\(node.name) ended with \(exit)\n\(node.process.log.tail(lines: 5))\n")
                }
            }
            await body()
            group.cancelAll()
            do { try await cluster.terminateNodes() } catch {
                await cluster.killNodes()
                throw error
            }
        }
    }

    /// Until Ctrl-C or SIGTERM.
    private static func untilTold() async {
        let signals = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number)
        }
        let told = AsyncStream<Void>.makeStream()
        for signal in signals {
            signal.setEventHandler { told.continuation.yield() }
            signal.resume()
        }
        for await _ in told.stream { break }
        for signal in signals { signal.cancel() }
    }
}
