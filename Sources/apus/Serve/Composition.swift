import ApusBackends
import ApusCore
import ApusProtocol
import ApusServer
import Foundation
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Runs every role in this process, on the embedded back ends, until SIGTERM or SIGINT; returns once everything is drained.
func serve(_ configuration: ServerConfiguration) async throws {
    let logger = Logger(label: "apus")
    let store = try openStore(configuration)
    let threads = configuration.threads > 0 ? configuration.threads : System.coreCount
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: threads)
    let node = try Node(configuration, store: store, loops: loops, logger: logger)
    let group = ServiceGroup(
        configuration: ServiceGroupConfiguration(
            services: node.services.map { ServiceGroupConfiguration.ServiceConfiguration(service: $0) },
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "apus.lifecycle")))
    do {
        try await group.run()
    } catch {
        try? await loops.shutdownGracefully()
        throw error
    }
    try await loops.shutdownGracefully()
}

private func openStore(_ configuration: ServerConfiguration) throws -> SQLiteStore {
    var options = SQLiteStore.Options()
    options.membersMax = configuration.groupMembersMax
    do {
        return try SQLiteStore(directory: URL(filePath: configuration.data), options: options)
    } catch {
        throw StartError.store(String(describing: error))
    }
}

/// All parts of one process, put together. Nothing runs before the service group runs it.
private struct Node {
    /// In the order in which they start; they stop in the reverse order, so each outlives those that need it.
    let services: [any Service]

    init(_ configuration: ServerConfiguration, store: SQLiteStore, loops: MultiThreadedEventLoopGroup, logger: Logger) throws {
        let clock = SystemClock()
        // One node has the data directory to itself, and so the number 0.
        let node = NodeID(number: 0, epoch: 1)
        let ids = IDGenerator(node: node.number, clock: clock)
        let routes = MemoryRouteTable()
        let hub = SessionHub()

        let sequencer = Sequencer(
            log: store.log, handover: hub, ids: ids, clock: clock,
            limits: .init(batchMax: configuration.delivery.batchMax, queueMax: configuration.delivery.queueMax),
            logger: Logger(label: "apus.sequencer"))
        let scheduler = Scheduler(
            store: store.schedule, sequencer: sequencer, ids: ids, clock: clock, logger: Logger(label: "apus.scheduler"))
        let marks = MarkBuffer(conversations: store.conversations, handover: hub, logger: Logger(label: "apus.marks"))
        let sweep = HeadSweep(
            log: store.log, conversations: store.conversations, handover: hub, interval: .seconds(configuration.delivery.sweepSeconds),
            logger: Logger(label: "apus.sweep"))
        let delivery = Delivery(
            sequencer: sequencer, log: store.log, conversations: store.conversations, scheduler: scheduler, marks: marks, handover: hub,
            clock: clock, rules: SendRules(bodyBytesMax: configuration.socket.bodyBytesMax),
            limits: .init(pageEntriesMax: configuration.delivery.pageEntriesMax))

        let keys = KeyRing(
            store: store.signingKeys, schedule: try configuration.keySchedule, clock: clock, logger: Logger(label: "apus.keys"))
        let verifier = JWTVerifier(keys: keys, clock: clock, issuer: configuration.auth.issuerIfSet)
        let hasher = ScryptPasswordHasher(parameters: .init(logRounds: configuration.auth.passwordCost))
        let socket = SocketRole(
            configuration: configuration.socketConfiguration, hub: hub, delivery: delivery, verifier: verifier, devices: store.devices,
            routes: routes, node: node, ids: ids, clock: clock, group: loops, logger: Logger(label: "apus.socket"))
        let directory = LocalSocketDirectory(publicNode: configuration.publicSocketNode) {
            .init(webSocket: try await socket.webSocketAddress.value, tcp: try await socket.tcpAddress.value)
        }
        let auth = AuthRole(
            configuration: try configuration.authConfiguration, accounts: store.accounts, devices: store.devices, routes: routes,
            sessions: hub, arbiter: MemoryLoginArbiter(), hasher: hasher, keys: keys, verifier: verifier, ids: ids, clock: clock,
            logger: Logger(label: "apus.auth"))
        let readiness = Readiness()
        let http = HTTPService(
            configuration: configuration.httpConfiguration,
            roles: [
                auth, UserRole(accounts: store.accounts, routes: routes),
                WebRole(
                    accounts: store.accounts, conversations: store.conversations, delivery: delivery, sockets: directory, ids: ids,
                    clock: clock),
            ],
            verifier: verifier, readiness: readiness, logger: Logger(label: "apus.http"))
        let announcer = ReadinessAnnouncer(
            readiness: readiness, http: http.address, webSocket: socket.webSocketAddress, tcp: socket.tcpAddress)
        services = [StoreCloser(store: store), hasher, keys, sequencer, marks, scheduler, sweep, http, socket, announcer]
    }
}

/// Closes the store after everything that uses it has stopped.
private struct StoreCloser: Service {
    let store: SQLiteStore

    func run() async throws {
        try? await gracefulShutdown()
        try store.close()
    }
}

/// Says that the server listens, once all of its listeners do, and that it leaves, before any of them stops.
private struct ReadinessAnnouncer: Service {
    let readiness: Readiness
    let http: BoundAddress
    let webSocket: BoundAddress
    let tcp: BoundAddress

    func run() async throws {
        let ready = ReadyLine(http: try await http.value, socket: try await webSocket.value, tcp: try await tcp.value)
        readiness.set(.ready)
        try ready.announce()
        try? await gracefulShutdown()
        readiness.set(.draining)
    }
}
