import ApusChaos
import ArgumentParser

struct ChaosCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract:
            "Kill, pause, empty and restart the parts of a cluster of its own while clients write and read, and check that nothing is lost.",
        discussion: """
            Starts MariaDB, Redis, ZooKeeper and a process for each node on loopback, in a temporary directory, and does things to them: \
            kill -9 or a pause of any node, a node that is cut off from everything, from clients, from other nodes or from some of the servers, \
            a rolling restart of the socket nodes or of all, kill -9 of MariaDB, of Redis or of ZooKeeper, a Redis that forgets everything. Prints the report on standard output and ends with 0 only when every promise of the delivery contract was kept.
            """)

    @Option(help: "How often something is done to the cluster while messages are under way.")
    var faults = 100

    @Option(help: "Processes of each role.")
    var each = 2

    @Option(help: "The longest pause of a node, and the longest time for which one is cut off.")
    var pauseSecondsMax = 20

    @Option(help: "The longest time between kill -9 and the start.")
    var downSecondsMax = 5

    @Flag(inversion: .prefixedNo, help: "Cut nodes off, where that is possible: in a network namespace of this command, which needs root.")
    var network = true

    @Flag(help: "Hand over between socket nodes through NATS, which is killed as well, instead of direct links.")
    var nats = false

    @Flag(help: "TLS between the nodes.")
    var encrypted = false

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
        guard (1...10_000).contains(faults), (1...16).contains(each), (1...600).contains(pauseSecondsMax),
            (0...60).contains(downSecondsMax),
            (1...1_000).contains(rolling ?? 1), (1...10_000).contains(rate)
        else {
            throw ValidationError(
                "1 to 10,000 faults, to 16 processes of a role, to 600 seconds of pause, 0 to 60 of being down, to 1,000 rolling restarts, to 10,000 messages per second"
            )
        }
    }

    func run() async throws {
        if let rolling { return try await restart(rounds: rolling) }
        if network, !NetworkNamespace.isEntered {
            guard let obstacle = NetworkNamespace.obstacle else { try NetworkNamespace.enter() }
            StandardError.write("nodes are not cut off: that \(obstacle)\n")
        }
        var cluster = try LocalCluster.Options(nodes: nodes, settings: LocalCluster.Options.forTests)
        cluster.hasNetwork = network && NetworkNamespace.isEntered
        cluster.relay = nats ? .nats : .peer
        cluster.isEncrypted = encrypted
        let durations = ClusterChaos.Durations(pause: 1_000...(1_000 * pauseSecondsMax), down: 0...(1_000 * downSecondsMax))
        try await options.run(faults: faults) { [cluster] options, progress in
            try await ClusterChaos.run(options, cluster: cluster, durations: durations, progress: progress)
        }
    }

    private var nodes: [String: Int] {
        Dictionary(uniqueKeysWithValues: ["gateway", "auth", "user", "web", "socket"].map { ($0, each) })
    }

    private func restart(rounds: Int) async throws {
        // With the default drain: what is shown is what an operator gets.
        let cluster = try LocalCluster.Options(nodes: nodes, settings: RollingRestart.settings)
        try await options.run(faults: rounds) { options, progress in
            var options = options
            options.messagesPerSecond = rate
            return try await RollingRestart.run(rounds: rounds, options, cluster: cluster, progress: progress)
        }
    }
}
