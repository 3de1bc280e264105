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
        let client: RedisClient
        let address: RegistryAddress
        do {
            client = try RedisClient(
                configuration: try RedisConfiguration(url: configuration.cluster.redis), group: group, logger: Logger(label: "apus.redis"))
            address = try RegistryAddress(configuration.cluster.registry)
        } catch let error as ApusError where error.code == .invalidArgument {
            throw StartError.configuration(error.message)
        }
        let routes = RedisRouteTable(client: client, node: node, logger: Logger(label: "apus.routes"))
        let (registry, registryService) = Self.registry(address)
        return SharedState(
            routes: routes, arbiter: RedisLoginArbiter(client: client, logger: Logger(label: "apus.arbiter")),
            limiter: RedisRateLimiter(client: client), registry: registry,
            services: [Closer { await client.close() }, registryService, routes])
    }

    private static func registry(_ address: RegistryAddress) -> (any NodeRegistry, any Service) {
        let logger = Logger(label: "apus.registry")
        switch address {
        case .zooKeeper(let configuration):
            let registry = ZooKeeperRegistry(configuration, logger: logger)
            return (registry, registry)
        case .nacos(let configuration):
            let registry = NacosRegistry(configuration, logger: logger)
            return (registry, registry)
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
