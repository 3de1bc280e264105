#if Cluster
import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import Testing

/// Which Redis: each implementation keeps the promises of its port on all of them.
enum RedisKind: String, CaseIterable, Sendable {
    case single, cluster, tls

    /// Runs the body with the URL of a fresh one and the ports of its servers.
    func with(_ body: (_ url: String, _ flush: @escaping @Sendable () async throws -> Void) async throws -> Void) async throws {
        switch self {
        case .single:
            try await RedisServer.with { _, port in
                try await body("redis://127.0.0.1:\(port)") { try await RedisServer.ask(port: port, ["FLUSHALL"]) }
            }
        case .cluster:
            try await RedisServer.withCluster { _, ports in
                let seeds = ports.map { "127.0.0.1:\($0)" }.joined(separator: ",")
                try await body("redis://\(seeds)?cluster=true") {
                    for port in ports { try await RedisServer.ask(port: port, ["FLUSHALL"]) }
                }
            }
        case .tls:
            try await RedisServer.withTLS(password: "secret") { _, port, certificate in
                let ca = certificate.certificate
                try await body("rediss://:secret@localhost:\(port)?ca=\(ca)") {
                    try await RedisServer.ask(port: port, ["--tls", "--cacert", ca, "-a", "secret", "--no-auth-warning", "FLUSHALL"])
                }
            }
        }
    }
}

/// Nodes with a route table each, on one Redis.
actor RouteNodes {
    private struct Node {
        var client: RedisClient
        var upkeep: Task<Void, any Error>
    }

    private let url: String
    private var nodes: [NodeID: Node] = [:]

    private let timeout: Duration

    init(url: String, timeout: Duration = .seconds(2)) {
        self.url = url
        self.timeout = timeout
    }

    /// With times short enough for a test.
    static var timing: RedisRouteTable.Timing {
        var timing = RedisRouteTable.Timing()
        timing.lifetime = .milliseconds(900)
        timing.renewal = .milliseconds(150)
        timing.round = .seconds(2)
        timing.sweep = .seconds(2)
        return timing
    }

    func join(_ id: NodeID) throws -> RedisRouteTable {
        var configuration = try RedisConfiguration(url: url)
        configuration.commandTimeout = timeout
        let client = try RedisClient(
            configuration: configuration, group: .singletonMultiThreadedEventLoopGroup, logger: Logger(label: "test"))
        let table = RedisRouteTable(client: client, node: id, timing: Self.timing, logger: Logger(label: "test"))
        nodes[id] = Node(client: client, upkeep: Task { try await table.run() })
        return table
    }

    /// As kill -9 does it: nobody is told.
    func end(_ id: NodeID) async {
        guard let node = nodes.removeValue(forKey: id) else { return }
        await node.client.close()
        node.upkeep.cancel()
        _ = await node.upkeep.result
    }

    func endAll() async { for id in nodes.keys { await end(id) } }
}

@Suite("Redis: the promises of the ports") struct RedisConformanceTests {
    private func withNodes(_ kind: RedisKind, _ body: (RouteTableNodes) async throws -> Void) async throws {
        try await kind.with { url, flush in
            let nodes = RouteNodes(url: url)
            let result: Result<Void, any Error>
            do {
                try await body(
                    RouteTableNodes(join: { try await nodes.join($0) }, kill: { await nodes.end($0) }, flush: flush))
                result = .success(())
            } catch {
                result = .failure(error)
            }
            await nodes.endAll()
            try result.get()
        }
    }

    @Test("routes of one node", arguments: RedisKind.allCases)
    func routes(_ kind: RedisKind) async throws {
        try await withNodes(kind) { nodes in
            for promise in RouteTableConformance.cases {
                try await nodes.flush()
                let node = NodeID(number: 1, epoch: 1)
                try await promise.check(try await nodes.join(node))
                try await nodes.kill(node)
            }
        }
    }

    @Test("routes of several nodes", arguments: RedisKind.allCases, RouteTableConformance.casesOfNodes)
    func routesOfNodes(_ kind: RedisKind, _ promise: ConformanceCase<RouteTableNodes>) async throws {
        try await withNodes(kind) { try await promise.check($0) }
    }

    @Test("rate limits", arguments: RedisKind.allCases)
    func rateLimits(_ kind: RedisKind) async throws {
        try await kind.with { url, flush in
            try await withRedisClient(url) { client in
                for promise in RateLimiterConformance.cases {
                    try await flush()
                    let limiter = RedisRateLimiter(client: client)
                    // The buckets go by Redis's clock: only time lets it pass.
                    try await promise.check(TimedRateLimiter(limiter: limiter) { try await Task.sleep(for: $0 + .milliseconds(2)) })
                }
            }
        }
    }

    @Test("turns of logins", arguments: RedisKind.allCases, LoginArbiterConformance.cases)
    func turns(_ kind: RedisKind, _ promise: ConformanceCase<[any LoginArbiter]>) async throws {
        try await kind.with { url, _ in
            try await withRedisClient(url) { first in
                try await withRedisClient(url) { second in
                    let logger = Logger(label: "test")
                    try await promise.check([
                        RedisLoginArbiter(client: first, logger: logger), RedisLoginArbiter(client: second, logger: logger),
                    ])
                }
            }
        }
    }
}

extension RedisConformanceTests {
    @Test("A turn that took longer than its lease is another's by then, and is told so")
    func lostTurn() async throws {
        try await RedisServer.with { _, port in
            try await withRedisClient("redis://127.0.0.1:\(port)") { client in
                var timing = RedisLoginArbiter.Timing()
                timing.lease = .milliseconds(100)
                let slow = RedisLoginArbiter(client: client, timing: timing, logger: Logger(label: "test"))
                let other = RedisLoginArbiter(client: client, logger: Logger(label: "test"))
                await #expect(
                    performing: {
                        try await slow.withTurn(of: AccountID(1)) { turn in
                            try await other.withTurn(of: AccountID(1)) { try await $0.confirm() }
                            try await turn.confirm()
                        }
                    }, throws: isUnavailable)
            }
        }
    }
}
#endif
