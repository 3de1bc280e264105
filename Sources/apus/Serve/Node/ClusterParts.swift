import ApusCore
import ApusProtocol
import ApusServer
import AsyncHTTPClient
import Logging
import NIOCore
import ServiceLifecycle

/// What a process of a cluster has beyond a single node: it finds other nodes, hands over to them, and takes what they hand over.
struct ClusterParts {
    /// What a process with the socket role has.
    struct Sessions {
        var hub: SessionHub
        var conversations: any ConversationStore
    }

    let handover: ClusterHandover
    let sessions: ClusterSessionControl
    /// They start before the roles, and stop after them.
    let services: [any Service]
    /// Takes what comes by links; nil: nothing comes by them.
    let listener: (any TokenVerifier) -> PeerListener?

    /// - Parameters:
    ///   - sessions: nil: this process has no socket role.
    ///   - certificate: nil: nodes speak plain.
    ///   - tokens: by which this node shows others that it is one.
    /// - Throws: ``StartError``.
    init(
        _ configuration: ServerConfiguration, node: NodeID, shared: SharedState, registry: any NodeRegistry, sessions: Sessions?,
        certificate: ClusterCertificate?, tokens: any PeerTokenSource, clock: any WallClock, group: any EventLoopGroup
    ) throws {
        let logger = Logger(label: "apus.peer")
        let inbox = sessions.map {
            RelayInbox(handover: $0.hub, sessions: $0.hub, conversations: $0.conversations, clock: clock, logger: logger)
        }
        let relay: any Relay & Service
        if let broker = try BrokerRelay.make(configuration.cluster, node: node, receiver: inbox) {
            relay = broker
            listener = { _ in nil }
        } else {
            let peers = PeerConfiguration(listen: configuration.peer.listen, certificate: certificate)
            relay = PeerRelay(configuration: peers, node: node, registry: registry, tokens: tokens, group: group, logger: logger)
            listener = { verifier in
                inbox.map {
                    PeerListener(configuration: peers, node: node, verifier: verifier, receiver: $0, group: group, logger: logger)
                }
            }
        }
        handover = ClusterHandover(
            local: sessions?.hub ?? NoSessions(), routes: shared.routes, relay: relay, node: node, clock: clock, logger: logger)
        self.sessions = ClusterSessionControl(local: sessions?.hub, routes: shared.routes, relay: relay, node: node, logger: logger)
        services = (inbox.map { [$0] } ?? []) + [relay, handover]
    }
}

/// Where a process that has no keys of its own gets those of the auth role and its own tokens: from the live auth nodes.
struct AuthNodes {
    let keys: RemoteKeySet
    let tokens: ServiceTokenSource
    let services: [any Service]

    /// - Parameter certificate: nil: nodes speak plain.
    init(
        _ configuration: ServerConfiguration, registry: any NodeRegistry, http: HTTPClient, certificate: ClusterCertificate?,
        clock: any WallClock
    ) {
        let upstreams = UpstreamClient(
            client: http, registry: registry, roles: [.auth], certificate: certificate, logger: Logger(label: "apus.auth-nodes"))
        keys = RemoteKeySet(upstreams: upstreams, clock: clock, logger: Logger(label: "apus.keys"))
        let pool = NodePool(role: .auth, policy: .random)
        let scheme = certificate == nil ? "http" : "https"
        tokens = ServiceTokenSource(
            clientID: ServiceClient.nodeID, secret: configuration.cluster.secret, http: http, certificate: certificate, clock: clock
        ) {
            pool.nodes.compactMap { $0.http.map { "\(scheme)://\($0)\(HTTPPath.token)" } }.shuffled()
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
