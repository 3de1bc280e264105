import ApusCore
import ApusProtocol
import ApusServer
import AsyncHTTPClient
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// All parts of one process, put together. Nothing runs before the service group runs it.
struct Node {
    /// In the order in which they start; they stop in the reverse order, so each outlives those that need it.
    private(set) var services: [any Service] = []

    private let configuration: ServerConfiguration
    private let roles: Set<Role>
    private let stores: Stores
    private let shared: SharedState
    private let tls: NodeTLS
    private let lease: NodeLeaseKeeper
    private let loops: MultiThreadedEventLoopGroup
    private let clock = SystemClock()
    private let hub = SessionHub()
    private let deviceCheck: DeviceCheck
    private let readiness: Readiness
    private var live = LiveSettings()
    private var listeners = Listeners()
    private var load: @Sendable () -> Int = { 0 }

    init(_ configuration: ServerConfiguration, loops: MultiThreadedEventLoopGroup, tls: NodeTLS, readiness: Readiness) async throws {
        self.configuration = configuration
        self.readiness = readiness
        self.loops = loops
        roles = configuration.activeRoles
        self.tls = tls
        stores = try await Stores.open(configuration)
        deviceCheck = DeviceCheck(devices: stores.devices, clock: clock)
        do {
            lease = try await NodeLeaseKeeper(store: stores.leases, clock: clock, logger: Logger(label: "apus.lease"))
            shared = try await SharedState.open(configuration, node: lease.node, clock: clock, group: loops)
            services = tls.services + [Closer(stores.close)] + shared.services + [lease]
            try assemble()
        } catch {
            try await stores.close()
            throw error
        }
    }

    private mutating func assemble() throws {
        let http = shared.registry.map { _ in
            HTTPClient(eventLoopGroupProvider: .shared(loops), configuration: UpstreamConfiguration.client())
        }
        if let http { services.append(Closer { try await http.shutdown() }) }
        let trust = try makeTrust(http)
        let cluster = try shared.registry.map { registry in
            try ClusterParts(
                configuration, node: lease.node, shared: shared, registry: registry,
                sessions: roles.contains(.socket) ? .init(hub: hub, conversations: stores.conversations) : nil,
                certificate: tls.nodes, tokens: trust.tokens, clock: clock, group: loops)
        }
        services += cluster?.services ?? []
        if shared.registry == nil || !roles.isDisjoint(with: [.auth, .user, .web, .socket]) {
            try addRoles(verifier: trust.verifier, keyRing: trust.keyRing, cluster: cluster)
        } else {
            addDeparture()
        }
        if let registry = shared.registry, let http, roles.contains(.gateway) { addGateway(registry, http, trust.verifier) }
        addUpkeep()
        services.append(
            Announcer(
                configuration: configuration, node: lease.node, listeners: listeners, registry: shared.registry,
                advertised: AdvertisedAddress(registry: shared.registryServers, group: loops), readiness: readiness, load: load,
                prepared: trust.prepared, logger: Logger(label: "apus.announcer")))
    }

    /// What looks after the node itself: settings that change, servers that go away.
    private mutating func addUpkeep() {
        live.follow { [stores] in stores.setMembersMax($0.groupMembersMax) }
        if let follower = live.service(configuration, centre: shared.centre) { services.append(follower) }
        var parts: [PrerequisiteWatch.Part] = []
        // A gateway by itself can do without: it says what is the matter better than a load balancer that knows no gateway.
        if let check = stores.check { parts.append(.init(name: "mysql", isNeeded: roles != [.gateway], check: check)) }
        // The head sweep delivers what Redis would have sped up.
        if let check = shared.checkRedis { parts.append(.init(name: "redis", isNeeded: false, check: check)) }
        guard !parts.isEmpty else { return }
        services.append(PrerequisiteWatch(parts: parts, readiness: readiness, logger: Logger(label: "apus.watch")))
    }

    // MARK: Trust

    private struct Trust {
        var verifier: JWTVerifier
        /// Of a process with the auth role.
        var keyRing: KeyRing?
        var tokens: any PeerTokenSource
        /// Returns when tokens can be checked.
        var prepared: @Sendable () async -> Void = {}
    }

    /// A process with the auth role has the signing keys; the others get their public halves from it.
    private mutating func makeTrust(_ http: HTTPClient?) throws -> Trust {
        if let registry = shared.registry, let http, !roles.contains(.auth) {
            let nodes = AuthNodes(configuration, registry: registry, http: http, certificate: tls.nodes, clock: clock)
            services += nodes.services
            return Trust(
                verifier: JWTVerifier(keys: nodes.keys, clock: clock, issuer: configuration.auth.issuerIfSet), keyRing: nil,
                tokens: nodes.tokens, prepared: { await nodes.waitForKeys() })
        }
        let keys = KeyRing(
            store: stores.signingKeys, schedule: try configuration.keySchedule, clock: clock, logger: Logger(label: "apus.keys"))
        services.append(keys)
        let tokens = IssuedTokenSource(
            keys: keys, clock: clock, name: ServiceClient.nodeID, issuer: configuration.auth.issuerIfSet ?? ServiceClient.nodeID)
        return Trust(
            verifier: JWTVerifier(keys: keys, clock: clock, issuer: configuration.auth.issuerIfSet), keyRing: keys, tokens: tokens)
    }

    // MARK: Roles

    private mutating func addRoles(verifier: JWTVerifier, keyRing: KeyRing?, cluster: ClusterParts?) throws {
        var http: [any HTTPRole] = []
        var socket: SocketRole?
        var departures: AccountDepartures?
        if !roles.isDisjoint(with: [.web, .socket]) {
            let delivery = addDelivery(cluster?.handover ?? hub)
            if roles.contains(.web) { departures = addDepartures(delivery) }
            if roles.contains(.socket) { socket = try makeSocket(delivery, verifier: verifier) }
            if roles.contains(.web) {
                http.append(
                    WebRole(
                        accounts: stores.accounts, conversations: stores.conversations, delivery: delivery, sockets: makeDirectory(socket),
                        ids: lease.ids, clock: clock))
            }
        }
        if roles.contains(.user) { http.append(UserRole(accounts: stores.accounts, routes: shared.routes)) }
        if roles.contains(.auth), let keyRing {
            http.append(try makeAuth(keyRing, verifier: verifier, departures: departures, cluster: cluster))
        }
        let service = HTTPService(
            configuration: configuration.httpConfiguration, roles: http, verifier: verifier, deviceCheck: deviceCheck, readiness: readiness,
            encryption: tls.http(isCluster: shared.registry != nil), logger: Logger(label: "apus.http"))
        services.append(service)
        listeners.http = service.address
        live.follow { service.corsOrigins.set($0.httpConfiguration.corsOrigins) }
        guard let socket else { return addDeparture() }
        if let listener = cluster?.listener(verifier) {
            services.append(listener)
            listeners.peer = listener.address
        }
        addDeparture()
        services.append(socket)
        listeners.socket = socket.webSocketAddress
        listeners.tcp = socket.tcpAddress
        load = { socket.connectionCount }
    }

    private mutating func makeAuth(
        _ keys: KeyRing, verifier: JWTVerifier, departures: AccountDepartures?, cluster: ClusterParts?
    ) throws -> AuthRole {
        let hasher = ScryptPasswordHasher(parameters: .init(logRounds: configuration.auth.passwordCost))
        services.append(hasher)
        let role = AuthRole(
            configuration: try configuration.authConfiguration, accounts: stores.accounts, devices: stores.devices, routes: shared.routes,
            sessions: cluster?.sessions ?? hub, arbiter: shared.arbiter, hasher: hasher, keys: keys, verifier: verifier,
            deviceCheck: deviceCheck, departures: departures, ids: lease.ids, clock: clock, logger: Logger(label: "apus.auth"))
        live.follow { role.devicePolicy.set($0.auth.devicePolicy) }
        return role
    }

    private mutating func addDelivery(_ handover: any Handover) -> Delivery {
        let settings = configuration.delivery
        let sequencer = Sequencer(
            log: stores.log, handover: handover, ids: lease.ids, clock: clock,
            limits: .init(batchMax: settings.batchMax, queueMax: settings.queueMax), logger: Logger(label: "apus.sequencer"))
        // Other nodes schedule messages of which this one hears nothing: it looks as often as it sweeps.
        let scheduler = Scheduler(
            store: stores.schedule, sequencer: sequencer, ids: lease.ids, clock: clock,
            pauseMax: shared.registry == nil ? .seconds(60) : .seconds(settings.sweepSeconds), logger: Logger(label: "apus.scheduler"))
        let marks = MarkBuffer(conversations: stores.conversations, handover: handover, logger: Logger(label: "apus.marks"))
        services += [sequencer, marks]
        if roles.contains(.socket) {
            let sweep = HeadSweep(
                log: stores.log, conversations: stores.conversations, handover: handover, interval: .seconds(settings.sweepSeconds),
                logger: Logger(label: "apus.sweep"))
            services += [scheduler, sweep] as [any Service]
        }
        let delivery = Delivery(
            sequencer: sequencer, log: stores.log, conversations: stores.conversations, scheduler: scheduler, marks: marks,
            handover: handover, clock: clock, rules: SendRules(bodyBytesMax: configuration.socket.bodyBytesMax),
            limits: .init(pageEntriesMax: settings.pageEntriesMax))
        live.follow { delivery.pageEntriesMax.set($0.delivery.pageEntriesMax) }
        return delivery
    }

    /// Takes deleted accounts out of their conversations.
    private mutating func addDepartures(_ delivery: Delivery) -> AccountDepartures {
        let departures = AccountDepartures(
            accounts: stores.accounts, conversations: stores.conversations, delivery: delivery, clock: clock,
            logger: Logger(label: "apus.departures"))
        services.append(departures)
        return departures
    }

    private mutating func makeSocket(_ delivery: Delivery, verifier: JWTVerifier) throws -> SocketRole {
        let role = SocketRole(
            configuration: configuration.socketConfiguration, hub: hub, delivery: delivery, verifier: verifier, devices: stores.devices,
            routes: shared.routes, node: lease.node, ids: lease.ids, clock: clock, group: loops, certificate: tls.clients,
            logger: Logger(label: "apus.socket"))
        live.follow { role.limitConnections(by: $0.socketConfiguration) }
        return role
    }

    private mutating func makeDirectory(_ socket: SocketRole?) -> any SocketDirectory {
        if let registry = shared.registry {
            let directory = BalancedSocketDirectory(registry: registry, policy: configuration.cluster.socketPolicy)
            services.append(directory)
            live.follow { directory.choose(by: $0.cluster.socketPolicy) }
            return directory
        }
        return LocalSocketDirectory(publicNode: configuration.publicSocketNode, isEncrypted: configuration.tls.isOn) {
            guard let socket else { throw ApusError(.overloaded, "this server has no sockets") }
            return .init(webSocket: try await socket.webSocketAddress.value, tcp: try await socket.tcpAddress.value)
        }
    }

    /// After its sessions, before the listener of those who hand over to them.
    private mutating func addDeparture() {
        if let registry = shared.registry { services.append(Departure(registry: registry, logger: Logger(label: "apus.announcer"))) }
    }

    private mutating func addGateway(_ registry: any NodeRegistry, _ http: HTTPClient, _ verifier: JWTVerifier) {
        let upstreams = UpstreamClient(
            client: http, registry: registry, roles: [.auth, .user, .web],
            configuration: UpstreamConfiguration(policy: configuration.gateway.policy), certificate: tls.nodes,
            logger: Logger(label: "apus.gateway"))
        let gateway = GatewayRole(
            configuration: configuration.gatewayConfiguration, upstreams: upstreams, verifier: verifier, limiter: shared.limiter,
            fallback: MemoryRateLimiter(clock: clock), readiness: readiness, certificate: tls.clients, logger: Logger(label: "apus.gateway")
        )
        services += [upstreams, gateway] as [any Service]
        listeners.gateway = gateway.address
        live.follow { new in
            upstreams.choose(by: new.gateway.policy)
            gateway.limits.set(new.limits.gateway)
            gateway.corsOrigins.set(new.gatewayConfiguration.http.corsOrigins)
        }
    }
}
