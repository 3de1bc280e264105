import ApusChaos
import ArgumentParser
import Foundation

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Run a small cluster on this machine: MariaDB, Redis, ZooKeeper, SeaweedFS and some processes of each role.",
        discussion: """
            For trying Apus out and for tests: everything listens on loopback, and ends with this command. Needs the programs mariadbd, \
            redis-server and java with ZooKeeper, for the object store also weed (SeaweedFS), and a build with the trait Cluster (`make cluster` sees to both). Prints one line of \
            JSON with the one address to use.
            """)

    @Option(help: "Where the cluster keeps its data.")
    var data = "./data/cluster"

    @Option(help: "Where the gateway listens.")
    var gateway = "127.0.0.1:8080"

    @Option(help: "Processes of each role; the first gateway has the address, a second one any port.")
    var each = 2

    private struct Ready: Encodable {
        var event = "ready"
        var http: String
        var nodes: [String]
    }

    func validate() throws {
        guard (1...16).contains(each) else { throw ValidationError("1 to 16 processes of each role") }
    }

    func run() async throws {
        let roles = ["gateway", "auth", "user", "web", "socket"]
        let directory = URL(filePath: data)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let weed = try? MiddlewareProcess.locate("weed").path
        if weed == nil { StandardError.write("the program weed (SeaweedFS) is not installed: this cluster has no object store\n") }
        let options = try LocalCluster.Options(
            nodes: Dictionary(uniqueKeysWithValues: roles.map { ($0, each) }),
            settings: ["--auth-password-cost", "15", "--log-level", "info"], gateway: gateway, weed: weed,
            directory: directory.absoluteURL)
        StandardError.write("starting MariaDB, Redis, ZooKeeper\(weed == nil ? "" : ", SeaweedFS") and \(each) processes of each role\n")
        try await LocalCluster.with(options) { cluster in
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            let ready = Ready(http: try await cluster.endpoints().http, nodes: cluster.nodes.map(\.name))
            try FileHandle.standardOutput.write(contentsOf: try encoder.encode(ready) + Data("\n".utf8))
            await Self.untilTold()
            StandardError.write("stopping\n")
            try await cluster.terminateNodes()
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
