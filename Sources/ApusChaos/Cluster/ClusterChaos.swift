import Foundation

/// The contract test of a cluster of real processes on real servers, whose nodes and servers are killed, paused, emptied and restarted
/// while clients write and read.
public enum ClusterChaos {
    /// - Throws: as a contract test does.
    public static func run(
        _ options: ContractTest.Options, cluster: LocalCluster.Options, progress: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> ContractTestReport {
        try await LocalCluster.with(cluster) { cluster in
            guard let server = URL(string: "http://\(try await cluster.endpoints().http)") else {
                throw ServerProcessError("the gateway has no address")
            }
            return try await ContractTest.run(options, against: Faults(cluster: cluster, server: server), progress: progress)
        }
    }

    enum Kind: CaseIterable, Sendable {
        case nodeKilled, nodePaused, socketsRestarted, storeKilled, redisKilled, redisFlushed, registryKilled

        /// A fault of a node is the usual case; those of the servers behind them are rarer.
        static let draw: [Kind] =
            Array(repeating: .nodeKilled, count: 6) + Array(repeating: .nodePaused, count: 3) + [
                .socketsRestarted, .storeKilled, .redisKilled, .redisFlushed, .registryKilled,
            ]
    }

    private struct Faults: Disturbance {
        let cluster: LocalCluster
        let server: URL

        func strike(_ number: Int, using random: inout SeededGenerator) async throws -> Fault {
            let kind = Kind.draw.randomElement(using: &random) ?? .nodeKilled
            let node = cluster.nodes.randomElement(using: &random)
            let pause = Duration.milliseconds(Int.random(in: 1_000...5_000, using: &random))
            switch kind {
            case .nodeKilled:
                guard let node else { throw ServerProcessError("the cluster has no nodes") }
                await node.process.kill()
                return try await timed("kill -9 of \(node.role)") { try await node.process.start() }
            case .nodePaused:
                guard let node else { throw ServerProcessError("the cluster has no nodes") }
                await node.process.setPaused(true)
                try await Task.sleep(for: pause)
                await node.process.setPaused(false)
                return Fault(description: "pause of \(node.role)", recovery: .zero)
            case .socketsRestarted:
                return try await timed("rolling restart of the socket nodes") {
                    for node in cluster.nodes(of: "socket") {
                        try await node.process.terminate()
                        try await node.process.start()
                    }
                }
            case .storeKilled: return try await restart(cluster.mariaDB.process, "kill -9 of MariaDB")
            case .redisKilled: return try await restart(cluster.redis, "kill -9 of Redis")
            case .registryKilled: return try await restart(cluster.zooKeeper, "kill -9 of ZooKeeper")
            case .redisFlushed:
                _ = try await RedisServer.ask(port: cluster.redisPort, ["FLUSHALL"])
                return Fault(description: "Redis emptied", recovery: .zero)
            }
        }

        private func restart(_ process: MiddlewareProcess, _ description: String) async throws -> Fault {
            await process.kill()
            return try await timed(description) { try await process.start() }
        }

        private func timed(_ description: String, _ repair: () async throws -> Void) async throws -> Fault {
            let began = ContinuousClock.now
            try await repair()
            return Fault(description: description, recovery: .now - began)
        }

        func restart() async throws {
            await cluster.killNodes()
            await cluster.mariaDB.process.kill()
            try await cluster.mariaDB.process.start()
            try await cluster.startNodes()
        }

        func logTail() async -> String { cluster.logTail() }
    }
}
