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

    @Option(
        help: """
            Nothing but this: every node is restarted with SIGTERM so many times, one after the other, two of each role, while messages \
            are written at a steady rate; and no message may be later than five seconds.
            """)
    var rolling: Int?

    @Option(help: "With --rolling: messages per second of all writers.")
    var rate = 200

    @OptionGroup
    var options: ContractTestOptions

    func validate() throws {
        guard (1...10_000).contains(faults), (1...16).contains(socketNodes),
            (1...1_000).contains(rolling ?? 1), (1...10_000).contains(rate)
        else {
            throw ValidationError("1 to 10,000 faults, to 16 socket nodes, to 1,000 rolling restarts, to 10,000 messages per second")
        }
    }

    func run() async throws {
        if let rolling { return try await restart(rounds: rolling) }
        let cluster = try LocalCluster.Options(
            nodes: ["gateway": 1, "auth": 1, "user": 1, "web": 1, "socket": socketNodes], settings: LocalCluster.Options.forTests)
        try await options.run(faults: faults) { options, progress in
            try await ClusterChaos.run(options, cluster: cluster, progress: progress)
        }
    }

    private func restart(rounds: Int) async throws {
        let roles = ["gateway", "auth", "user", "web", "socket"]
        // With the default drain: what is shown is what an operator gets.
        let cluster = try LocalCluster.Options(
            nodes: Dictionary(uniqueKeysWithValues: roles.map { ($0, 2) }), settings: LocalCluster.Options.withoutLimits)
        try await options.run(faults: rounds * roles.count * 2) { options, progress in
            var options = options
            options.messagesPerSecond = rate
            return try await RollingRestart.run(rounds: rounds, options, cluster: cluster, progress: progress)
        }
    }
}
