import Foundation
import NIOConcurrencyHelpers

/// The contract test of a cluster of real processes on real servers, whose nodes and servers are killed, paused, cut off, emptied and
/// restarted while clients write and read.
public enum ClusterChaos {
    /// How long things last; each time is drawn from its range.
    public struct Durations: Sendable {
        /// Milliseconds for which a node is stopped with SIGSTOP, or cut off.
        public var pause: ClosedRange<Int>
        /// Milliseconds between `kill -9` and the start.
        public var down: ClosedRange<Int>

        public init(pause: ClosedRange<Int> = 1_000...20_000, down: ClosedRange<Int> = 0...5_000) {
            self.pause = pause
            self.down = down
        }
    }

    /// - Throws: as a contract test does.
    public static func run(
        _ options: ContractTest.Options, cluster: LocalCluster.Options, durations: Durations = Durations(),
        progress: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> ContractTestReport {
        try await LocalCluster.with(cluster) { cluster in
            guard let server = URL(string: "http://\(try await cluster.endpoints().http)") else {
                throw ServerProcessError("the gateway has no address")
            }
            var random = SeededGenerator(seed: options.seed &+ 0xFA17)
            let kinds = ClusterFaultKind.series(
                options.faults, hasNetwork: cluster.network != nil, hasBroker: cluster.nats != nil, using: &random)
            let supervisor = Supervisor(cluster: cluster, progress: progress)
            let faults = ClusterFaults(cluster: cluster, server: server, kinds: kinds, durations: durations)
            // It ends with this scope.
            async let _: Void = supervisor.run()
            var report = try await ContractTest.run(options, against: faults, progress: progress)
            report.endedByThemselves = supervisor.ends
            if cluster.network == nil {
                report.leftOut["cuts of the network"] = NetworkNamespace.obstacle ?? "the cluster has no network of its own"
            }
            return report
        }
    }
}

/// Starts nodes that end by themselves, as an operator's supervisor does: one that lost its node number has to end.
private struct Supervisor: Sendable {
    private static let interval = Duration.milliseconds(200)

    let cluster: LocalCluster
    let progress: @Sendable (String) -> Void
    private let counts = NIOLockedValueBox<[String: Int]>([:])

    init(cluster: LocalCluster, progress: @escaping @Sendable (String) -> Void) {
        self.cluster = cluster
        self.progress = progress
    }

    /// By role and how they ended.
    var ends: [String: Int] { counts.withLockedValue { $0 } }

    func run() async {
        while !Task.isCancelled {
            for node in cluster.nodes {
                do {
                    guard let exit = try await node.process.startIfEnded() else { continue }
                    counts.withLockedValue { $0["\(node.role): \(exit)", default: 0] += 1 }
                    progress("\(node.name) ended by itself with \(exit)")
                } catch {
                    // Killed while it started, by the next fault, which starts it again; one that does not start fails that fault.
                    progress("\(node.name) was not started again: \(error)")
                }
            }
            try? await Task.sleep(for: Self.interval)
        }
    }
}
