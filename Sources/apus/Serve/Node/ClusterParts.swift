import ApusCore
import ApusProtocol
import ApusServer
import AsyncHTTPClient
import Logging
import NIOCore
import ServiceLifecycle

/// What a process of a cluster has beyond a single node: it finds other nodes, hands over to them, and takes what they hand over.
struct ClusterParts {
    let handover: ClusterHandover
    let sessions: ClusterSessionControl
    /// They start before the roles, and stop after them.
    let services: [any Service]

    /// - Parameters:
    ///   - hub: the sessions of this process; nil: it has no socket role.
    ///   - tokens: by which this node shows others that it is one.
    init(
        _ configuration: ServerConfiguration, node: NodeID, shared: SharedState, registry: any NodeRegistry, hub: SessionHub?,
        tokens: any PeerTokenSource, clock: any WallClock, group: any EventLoopGroup
    ) throws {
        let logger = Logger(label: "apus.peer")
        let relay = try PeerRelay(
            configuration: PeerConfiguration(listen: configuration.peer.listen), node: node, registry: registry, tokens: tokens,
            group: group, logger: logger)
        handover = ClusterHandover(
            local: hub ?? NoSessions(), routes: shared.routes, relay: relay, node: node, clock: clock, logger: logger)
        sessions = ClusterSessionControl(local: hub, routes: shared.routes, relay: relay, node: node, logger: logger)
        services = [relay, handover]
    }
}

/// Where a process that has no keys of its own gets those of the auth role and its own tokens: from the live auth nodes.
struct AuthNodes {
    let keys: RemoteKeySet
    let tokens: ServiceTokenSource
    let services: [any Service]

    init(_ configuration: ServerConfiguration, registry: any NodeRegistry, http: HTTPClient, clock: any WallClock) {
        let upstreams = UpstreamClient(client: http, registry: registry, roles: [.auth], logger: Logger(label: "apus.auth-nodes"))
        keys = RemoteKeySet(upstreams: upstreams, clock: clock, logger: Logger(label: "apus.keys"))
        let pool = NodePool(role: .auth, policy: .random)
        tokens = ServiceTokenSource(
            clientID: ServiceClient.nodeID, secret: configuration.cluster.secret, http: http, clock: clock
        ) {
            pool.nodes.compactMap { $0.http.map { "http://\($0)\(HTTPPath.token)" } }.shuffled()
        }
        services = [upstreams, PoolFollower(pool: pool, registry: registry), keys]
    }

    /// Returns when there are keys, or the task is cancelled. There is no event for it: they are looked for.
    func waitForKeys() async {
        if await !keys.hasKeys { Logger(label: "apus.keys").info("waiting for the keys of an auth node") }
        while await !keys.hasKeys, (try? await Task.sleep(for: .milliseconds(50))) != nil {}
    }

    private struct PoolFollower: Service {
        let pool: NodePool
        let registry: any NodeRegistry

        func run() async throws {
            await cancelWhenGracefulShutdown { await pool.follow(registry) }
        }
    }
}

extension ServiceClient {
    /// The name by which nodes ask for their tokens.
    static let nodeID = "apus-node"
}
