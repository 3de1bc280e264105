import ApusBackends
import ApusCore
import ApusProtocol
import Logging
import NIOCore
import ServiceLifecycle

/// What nodes share beside the stores, and nothing is lost with: who is connected where, whose turn it is to log in, how much a client
/// may ask, which nodes there are.
struct SharedState: Sendable {
    var routes: any RouteTable
    var arbiter: any LoginArbiter
    var limiter: any RateLimiter
    /// Nil: there is one node.
    var registry: (any NodeRegistry)?
    /// Where the registry is.
    var registryServers: [NetworkAddress] = []
    /// Beside the registry; nil: there is one node.
    var centre: (any ConfigurationCentre)?
    /// Whether Redis answers now; nil: there is none.
    var checkRedis: (@Sendable () async throws -> Void)?
    /// They start before everything that uses the ports, and stop after it.
    var services: [any Service]

    static func open(
        _ configuration: ServerConfiguration, node: NodeID, clock: any WallClock, group: any EventLoopGroup
    ) async throws -> SharedState {
        guard !configuration.isCluster else { return try await shared(configuration, node, group) }
        return SharedState(
            routes: MemoryRouteTable(), arbiter: MemoryLoginArbiter(), limiter: MemoryRateLimiter(clock: clock), registry: nil, services: []
        )
    }

    #if Cluster
    private static func shared(
        _ configuration: ServerConfiguration, _ node: NodeID, _ group: any EventLoopGroup
    ) async throws -> SharedState {
        let client = try RedisClient(configuration: try configuration.redisSettings, group: group, logger: Logger(label: "apus.redis"))
        let routes = RedisRouteTable(client: client, node: node, logger: Logger(label: "apus.routes"))
        let address = try configuration.registryAddress
        let registry = Self.registry(address)
        return SharedState(
            routes: routes, arbiter: RedisLoginArbiter(client: client, logger: Logger(label: "apus.arbiter")),
            limiter: RedisRateLimiter(client: client), registry: registry.nodes, registryServers: address.servers, centre: registry.centre,
            checkRedis: { try await client.check() }, services: [Closer { await client.close() }] + registry.services + [routes])
    }

    private typealias Registry = (nodes: any NodeRegistry, centre: any ConfigurationCentre, services: [any Service])

    private static func registry(_ address: RegistryAddress) -> Registry {
        let logger = Logger(label: "apus.registry")
        switch address {
        case .zooKeeper(let configuration):
            let registry = ZooKeeperRegistry(configuration, logger: logger)
            let centre = ZooKeeperConfigurationCentre(configuration, logger: logger)
            return (registry, centre, [registry, centre])
        case .nacos(let configuration):
            let registry = NacosRegistry(configuration, logger: logger)
            return (registry, NacosConfigurationCentre(configuration, logger: logger), [registry])
        }
    }
    #else
    private static func shared(
        _ configuration: ServerConfiguration, _ node: NodeID, _ group: any EventLoopGroup
    ) async throws -> SharedState { throw StartError.noCluster }
    #endif
}

/// Closes something after everything that uses it has stopped.
struct Closer: Service {
    let close: @Sendable () async throws -> Void

    init(_ close: @escaping @Sendable () async throws -> Void) { self.close = close }

    func run() async throws {
        try? await gracefulShutdown()
        try await close()
    }
}
