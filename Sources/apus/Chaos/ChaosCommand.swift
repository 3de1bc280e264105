import ApusChaos
import ArgumentParser

struct ChaosCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract:
            "Kill, pause, empty and restart the parts of a cluster of its own while clients write and read, and check that nothing is lost.",
        discussion: """
            Starts MariaDB, Redis, ZooKeeper and a process for each node on loopback, in a temporary directory, and does things to them: \
            kill -9 or a pause of any node, a rolling restart of the socket nodes, kill -9 of MariaDB, of Redis or of ZooKeeper, a Redis that \
            forgets everything. Prints the report on standard output and ends with 0 only when every promise of the delivery contract was kept.
            """)

    @Option(help: "How often something is done to the cluster while messages are under way.")
    var faults = 100

    @Option(help: "Socket nodes.")
    var socketNodes = 2

    @OptionGroup
    var options: ContractTestOptions

    func validate() throws {
        guard (1...10_000).contains(faults), (1...16).contains(socketNodes) else {
            throw ValidationError("1 to 10,000 faults and to 16 socket nodes")
        }
    }

    func run() async throws {
        let cluster = try LocalCluster.Options(
            nodes: ["gateway": 1, "auth": 1, "user": 1, "web": 1, "socket": socketNodes], settings: LocalCluster.Options.forTests)
        try await options.run(faults: faults) { options, progress in
            try await ClusterChaos.run(options, cluster: cluster, progress: progress)
        }
    }
}
