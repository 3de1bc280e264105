import ApusCore
import ApusProtocol
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// The socket role: holds the connections of clients, over WebSocket and TCP.
public final class SocketRole: Service {
    /// Where the role listens for WebSockets, once it does.
    public let webSocketAddress = BoundAddress()
    /// Where it listens for plain TCP, once it does.
    public let tcpAddress = BoundAddress()

    private let configuration: SocketConfiguration
    private let hub: SessionHub
    private let delivery: Delivery
    private let admission: SessionAdmission
    private let ids: IDGenerator
    private let clock: any WallClock
    private let group: any EventLoopGroup
    private let gate: ConnectionGate
    private let certificate: TLSCertificate?
    private let logger: Logger

    /// - Parameters:
    ///   - hub: the same one that the sequencer hands over to.
    ///   - certificate: for both listeners; nil: no TLS.
    public init(
        configuration: SocketConfiguration, hub: SessionHub, delivery: Delivery, verifier: any TokenVerifier, devices: any DeviceStore,
        routes: any RouteTable, node: NodeID, ids: IDGenerator, clock: any WallClock, group: any EventLoopGroup,
        certificate: TLSCertificate? = nil, logger: Logger
    ) {
        self.configuration = configuration
        self.certificate = certificate
        self.hub = hub
        self.delivery = delivery
        admission = SessionAdmission(verifier: verifier, devices: devices, routes: routes, node: node)
        self.ids = ids
        self.clock = clock
        self.group = group
        gate = ConnectionGate(configuration.gateLimits)
        self.logger = logger
    }

    /// Connections now, those that have not logged in yet among them.
    public var connectionCount: Int { gate.connectionCount }

    /// Bounds the connections that come from here on by ``SocketConfiguration/connectionsMax`` and
    /// ``SocketConfiguration/handshakesPerAddressMax`` of this configuration.
    public func limitConnections(by configuration: SocketConfiguration) { gate.set(configuration.gateLimits) }

    public func run() async throws {
        let loops = try await makeHubs()
        let timers = loops.map { eventLoop, hub in
            eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in hub.value.advance() }
        }
        defer { for timer in timers { timer.cancel() } }
        let listeners = try await listen(on: loops)
        try await gracefulShutdown()
        try await drain(listeners)
    }

    private func makeHubs() async throws -> [(any EventLoop, NIOLoopBound<LoopHub>)] {
        var hubs: [(any EventLoop, NIOLoopBound<LoopHub>)] = []
        for (index, eventLoop) in group.makeIterator().enumerated() {
            let (configuration, delivery, admission, gate, clock, logger) = (configuration, delivery, admission, gate, clock, logger)
            let hub = try await eventLoop.submit {
                NIOLoopBound(
                    LoopHub(
                        index: index, eventLoop: eventLoop, configuration: configuration, delivery: delivery, admission: admission,
                        gate: gate,
                        clock: clock, logger: logger), eventLoop: eventLoop)
            }.get()
            hubs.append((eventLoop, hub))
        }
        hub.attach(hubs)
        return hubs
    }

    private func listen(on loops: [(any EventLoop, NIOLoopBound<LoopHub>)]) async throws -> [any Channel] {
        let hubs = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.0), $0.1) })
        let policy = WebSocketHandshake.Policy(path: HTTPPath.webSocket, subprotocols: FrameEncoding.allCases.map(\.subprotocol))
        var listeners: [any Channel] = []
        do {
            listeners.append(
                try await listen(on: configuration.webSocket, known: webSocketAddress, hubs: hubs) { .webSocket(policy) })
            if let tcp = configuration.tcp {
                listeners.append(try await listen(on: tcp, known: tcpAddress, hubs: hubs) { .tcp })
            }
            return listeners
        } catch {
            for listener in listeners { try await listener.close() }
            throw error
        }
    }

    private func listen(
        on address: NetworkAddress, known: BoundAddress, hubs: [ObjectIdentifier: NIOLoopBound<LoopHub>],
        start: @escaping @Sendable () -> CarrierHandler<Session>.Start
    ) async throws -> any Channel {
        do {
            let listener = try await bind(address, hubs: hubs, start: start)
            guard let bound = listener.localAddress, let host = bound.ipAddress, let port = bound.port else {
                throw ApusError(.internal, "the listener on \(address) has no address")
            }
            known.resolve(.success(NetworkAddress(host: host, port: port)))
            return listener
        } catch {
            let failure = ApusError(.internal, "cannot listen on \(address)", cause: error)
            known.resolve(.failure(failure))
            throw failure
        }
    }

    private func bind(
        _ address: NetworkAddress, hubs: [ObjectIdentifier: NIOLoopBound<LoopHub>],
        start: @escaping @Sendable () -> CarrierHandler<Session>.Start
    ) async throws -> any Channel {
        let (configuration, gate, ids, certificate) = (configuration, gate, ids, certificate)
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: LeanReceiveAllocator())
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .writeBufferWaterMark, value: .init(low: configuration.outboundBytesMax / 4, high: configuration.outboundBytesMax)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let hub = hubs[ObjectIdentifier(channel.eventLoop)]?.value else {
                        throw ApusError(.internal, "an event loop without a hub")
                    }
                    let address = AddressKey(channel.remoteAddress)
                    guard gate.admit(address) else { throw ApusError(.overloaded, "too many connections") }
                    let session = Session(id: ids.next(), hub: hub, handshakeAddress: address)
                    hub.add(session)
                    let handler = CarrierHandler(start: start(), messageBytesMax: configuration.helloBytesMax, sink: session)
                    if let certificate { try channel.pipeline.syncOperations.addHandler(certificate.makeHandler()) }
                    try channel.pipeline.syncOperations.addHandler(handler)
                    session.connected(handler)
                }
            }
            .bind(host: address.host, port: address.port).get()
    }

    /// Takes nobody in, asks the sessions to go elsewhere one after the other, and closes those that stay.
    private func drain(_ listeners: [any Channel]) async throws {
        gate.shut()
        for listener in listeners { try await listener.close() }
        let milliseconds = configuration.drainSeconds * 1000
        hub.onEachLoop { $0.goaway(over: milliseconds) }
        await waitUntilEmpty(atMost: .milliseconds(milliseconds))
        hub.onEachLoop { loop in loop.forEachSession { $0.close(.goingAway, "the server is going away") } }
        await waitUntilEmpty(atMost: .seconds(2))
    }

    /// There is no event for the last of the sessions on several loops; the loops are asked every 20 ms.
    private func waitUntilEmpty(atMost limit: Duration) async {
        let deadline = ContinuousClock.now + limit
        while gate.connectionCount > 0, ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(20))
        }
    }
}
