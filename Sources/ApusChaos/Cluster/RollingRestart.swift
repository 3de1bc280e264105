import Foundation

/// Restarts every node of a cluster with SIGTERM, one after the other, while clients write at a steady rate: an upgrade, as its users
/// see it. Clients come through one ``Entrance`` to all gateways.
public enum RollingRestart {
    /// Nobody waits longer for a message, from `send` on, while nodes are restarted.
    public static let latenessMax = Duration.seconds(5)

    /// Of the nodes. The drain has its default; access tokens end so soon that clients renew them all the time.
    public static let settings = LocalCluster.Options.withoutLimits + ["--auth-access-token-seconds", "30"]

    /// - Parameters:
    ///   - rounds: how often each node is restarted.
    ///   - options: their faults and messages do not count; with a rate.
    /// - Returns: the report; a message that was later than ``latenessMax`` is a violation.
    /// - Throws: as a contract test does, also when a client's `send` throws.
    public static func run(
        rounds: Int, _ options: ContractTest.Options, cluster: LocalCluster.Options,
        progress: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> ContractTestReport {
        try await LocalCluster.with(cluster) { cluster in
            var options = options
            options.faults = rounds * cluster.nodes.count
            options.messagesPerSecond = options.messagesPerSecond ?? 200
            var gateways: [String] = []
            for node in cluster.nodes(of: "gateway") { gateways += [await node.process.endpoints?.gateway].compactMap(\.self) }
            return try await Entrance.with(gateways) { [options] entrance in
                guard let server = URL(string: "http://\(entrance)") else { throw ServerProcessError("the gateways have no address") }
                var report = try await ContractTest.run(options, against: Restarts(cluster: cluster, server: server), progress: progress)
                let latest = max(report.delivery.calm.max, report.delivery.disturbed.max)
                if latest > latenessMax / .milliseconds(1) { report.violations.append("a message took \(latest) ms from send to delivery") }
                for (error, count) in report.failedCalls { report.violations.append("\(count) HTTP calls failed: \(error)") }
                return report
            }
        }
    }

    private struct Restarts: Disturbance {
        let cluster: LocalCluster
        let server: URL

        func strike(_ number: Int, using random: inout SeededGenerator) async throws -> Fault {
            let node = cluster.nodes[number % cluster.nodes.count]
            let began = ContinuousClock.now
            try await node.process.restart()
            return Fault(kind: "restart of \(node.role)", detail: node.name, recovery: .now - began)
        }

        func restart() async throws {
            await cluster.killNodes()
            try await cluster.startNodes()
        }

        func logTail() async -> String { cluster.logTail() }
    }
}
