import Foundation

/// What can be done to a cluster.
enum ClusterFaultKind: CaseIterable, Sendable {
    case nodeKilled, nodePaused, nodeCut, socketsRestarted, everyNodeRestarted, storeKilled, redisKilled, redisFlushed, registryKilled
    case brokerKilled

    /// A fault of a node is the usual case; those of the servers behind them are rarer.
    private var share: Int {
        switch self {
        case .nodeKilled, .nodeCut: 6
        case .nodePaused: 4
        case .storeKilled, .redisKilled, .registryKilled, .brokerKilled: 2
        case .redisFlushed, .socketsRestarted, .everyNodeRestarted: 1
        }
    }

    /// In random order, and each kind as often as its share says.
    static func series(
        _ count: Int, hasNetwork: Bool, hasBroker: Bool, using random: inout SeededGenerator
    ) -> [ClusterFaultKind] {
        let possible = allCases.filter { (hasNetwork || $0 != .nodeCut) && (hasBroker || $0 != .brokerKilled) }
        let deck = possible.flatMap { Array(repeating: $0, count: $0.share) }
        var series: [ClusterFaultKind] = []
        while series.count < count { series += deck.shuffled(using: &random) }
        return Array(series.prefix(count))
    }
}

/// Does these things to a cluster, one after the other.
struct ClusterFaults: Disturbance {
    let cluster: LocalCluster
    let server: URL
    let kinds: [ClusterFaultKind]
    let durations: ClusterChaos.Durations

    func strike(_ number: Int, using random: inout SeededGenerator) async throws -> Fault {
        // As often one that holds sessions as one that does not.
        let isSocket = Bool.random(using: &random)
        guard let node = cluster.nodes.filter({ ($0.role == "socket") == isSocket }).randomElement(using: &random) else {
            throw ServerProcessError("the cluster has no nodes")
        }
        let pause = Duration.milliseconds(Int.random(in: durations.pause, using: &random))
        let down = Duration.milliseconds(Int.random(in: durations.down, using: &random))
        switch kinds[number] {
        case .nodeKilled:
            await node.process.kill()
            try await Task.sleep(for: down)
            return try await timed("kill -9 of \(node.role)", "\(node.name), down for \(down)") { try await node.process.start() }
        case .nodePaused:
            await node.process.setPaused(true)
            try await Task.sleep(for: pause)
            await node.process.setPaused(false)
            return Fault(kind: "pause of \(node.role)", detail: "\(node.name) for \(pause)")
        case .nodeCut: return try await cut(node, for: pause, using: &random)
        case .socketsRestarted: return try await restart(cluster.nodes(of: "socket"), "rolling restart of the socket nodes")
        case .everyNodeRestarted: return try await restart(cluster.nodes, "rolling restart of every node")
        case .storeKilled: return try await kill(cluster.mariaDB.process, "MariaDB", down)
        case .redisKilled: return try await kill(cluster.redis, "Redis", down)
        case .registryKilled: return try await kill(cluster.zooKeeper, "ZooKeeper", down)
        case .brokerKilled:
            guard let nats = cluster.nats else { throw ServerProcessError("the cluster has no broker") }
            return try await kill(nats, "NATS", down)
        case .redisFlushed:
            _ = try await RedisServer.ask(port: cluster.redisPort, ["FLUSHALL"])
            return Fault(kind: "Redis emptied")
        }
    }

    private func kill(_ process: MiddlewareProcess, _ name: String, _ down: Duration) async throws -> Fault {
        await process.kill()
        try await Task.sleep(for: down)
        return try await timed("kill -9 of \(name)", "down for \(down)") { try await process.start() }
    }

    private func restart(_ nodes: [LocalCluster.Node], _ kind: String) async throws -> Fault {
        try await timed(kind) {
            for node in nodes { try await node.process.restart() }
        }
    }

    private func cut(_ node: LocalCluster.Node, for time: Duration, using random: inout SeededGenerator) async throws -> Fault {
        guard let network = cluster.network, let place = node.place, let what = ClusterNetwork.Cut.allCases.randomElement(using: &random),
            let direction = ClusterNetwork.Direction.allCases.randomElement(using: &random)
        else { throw ServerProcessError("the cluster has no network") }
        try await network.cut(what, direction, at: place)
        try await check(what, node, place)
        try await Task.sleep(for: time)
        try await network.heal(place)
        return Fault(kind: "cut off from \(what.rawValue)", detail: "\(node.name), \(direction.rawValue), for \(time)")
    }

    /// A cut that does not cut proves nothing. Where it is between the node and this process, it can be seen from here.
    private func check(_ what: ClusterNetwork.Cut, _ node: LocalCluster.Node, _ place: ClusterNetwork.Place) async throws {
        guard [.everything, .clients].contains(what), let endpoints = await node.process.endpoints,
            let port = [endpoints.gateway, endpoints.http].compactMap({ $0.split(separator: ":").last.flatMap { Int($0) } }).first
        else { return }
        guard await !MiddlewareProcess.accepts(host: place.address, port: port) else {
            throw ServerProcessError("\(node.name) is cut off from \(what.rawValue) and can be reached")
        }
    }

    private func timed(_ kind: String, _ detail: String = "", _ repair: () async throws -> Void) async throws -> Fault {
        let began = ContinuousClock.now
        try await repair()
        return Fault(kind: kind, detail: detail, recovery: .now - began)
    }

    func restart() async throws {
        await cluster.killNodes()
        await cluster.mariaDB.process.kill()
        try await cluster.mariaDB.process.start()
        try await cluster.startNodes()
    }

    func logTail() async -> String { cluster.logTail() }
}
