import ApusCore
import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Takes what other nodes hand over to this one. Must outlive the socket role, whose sessions are served until they are drained.
public final class PeerListener: Service {
    /// Where it listens, once it does.
    public let address = BoundAddress()

    private let configuration: PeerConfiguration
    private let node: NodeID
    private let verifier: any TokenVerifier
    private let receiver: any RelayReceiver
    private let group: any EventLoopGroup
    private let logger: Logger
    private let connections: PeerConnections

    /// - Parameters:
    ///   - node: this one.
    ///   - receiver: called on the event loops of `group`.
    public init(
        configuration: PeerConfiguration, node: NodeID, verifier: any TokenVerifier, receiver: any RelayReceiver,
        group: any EventLoopGroup, logger: Logger
    ) {
        self.configuration = configuration
        self.node = node
        self.verifier = verifier
        self.receiver = receiver
        self.group = group
        self.logger = logger
        connections = PeerConnections(connectionsMax: configuration.connectionsMax, handshakesMax: configuration.handshakesMax)
    }

    public func run() async throws {
        let listener: any Channel
        do {
            listener = try await bind()
            guard let bound = listener.localAddress, let host = bound.ipAddress, let port = bound.port else {
                throw ApusError(.internal, "the listener has no address")
            }
            address.resolve(.success(NetworkAddress(host: host, port: port)))
        } catch {
            let failure = ApusError(.internal, "cannot listen for peers on \(configuration.listen)", cause: error)
            address.resolve(.failure(failure))
            throw failure
        }
        try? await gracefulShutdown()
        try await listener.close()
        connections.closeAll()
    }

    private func bind() async throws -> any Channel {
        let (node, configuration, verifier, receiver, logger) = (node, configuration, verifier, receiver, logger)
        let connections = connections
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let certificate = configuration.certificate {
                        try channel.pipeline.syncOperations.addHandlers(certificate.makeServerHandler(), PeerTLSLog(logger: logger))
                    }
                    let inbound = PeerInbound(
                        node: node, configuration: configuration, verifier: verifier, receiver: receiver, connections: connections,
                        eventLoop: channel.eventLoop, logger: logger)
                    guard connections.admit(inbound, eventLoop: channel.eventLoop) else {
                        throw ApusError(.overloaded, "too many connections")
                    }
                    try channel.pipeline.syncOperations.addHandler(
                        CarrierHandler(start: .tcp, messageBytesMax: configuration.helloBytesMax, sink: inbound))
                }
            }
            .bind(host: configuration.listen.host, port: configuration.listen.port).get()
    }
}

/// The connections of all peers: bounds them, and sees that each node has one.
final class PeerConnections: Sendable {
    private struct Connection: Sendable {
        var eventLoop: any EventLoop
        var inbound: NIOLoopBound<PeerInbound>

        func close(_ code: CloseCode, _ reason: String) {
            let inbound = inbound
            eventLoop.execute { inbound.value.close(code, reason) }
        }
    }

    private struct State {
        var connections: [ObjectIdentifier: Connection] = [:]
        var handshakes = 0
        var byNumber: [UInt16: ObjectIdentifier] = [:]
    }

    private let connectionsMax: Int
    private let handshakesMax: Int
    private let state = NIOLockedValueBox(State())

    init(connectionsMax: Int, handshakesMax: Int) {
        self.connectionsMax = connectionsMax
        self.handshakesMax = handshakesMax
    }

    func admit(_ inbound: PeerInbound, eventLoop: any EventLoop) -> Bool {
        let connection = Connection(eventLoop: eventLoop, inbound: NIOLoopBound(inbound, eventLoop: eventLoop))
        let id = ObjectIdentifier(inbound)
        return state.withLockedValue { state in
            guard state.connections.count < connectionsMax, state.handshakes < handshakesMax else { return false }
            state.connections[id] = connection
            state.handshakes += 1
            return true
        }
    }

    /// Closes the node's earlier connection, whose end it did not wait for.
    func authenticated(_ inbound: PeerInbound, peer: NodeID) {
        let id = ObjectIdentifier(inbound)
        let earlier: Connection? = state.withLockedValue { state in
            state.handshakes -= 1
            return state.byNumber.updateValue(id, forKey: peer.number).flatMap { state.connections[$0] }
        }
        earlier?.close(.goingAway, "the node connected again")
    }

    func remove(_ inbound: PeerInbound, isAuthenticated: Bool) {
        let id = ObjectIdentifier(inbound)
        state.withLockedValue { state in
            guard state.connections.removeValue(forKey: id) != nil else { return }
            if !isAuthenticated { state.handshakes -= 1 }
            if let number = state.byNumber.first(where: { $0.value == id })?.key { state.byNumber[number] = nil }
        }
    }

    func closeAll() {
        for connection in state.withLockedValue({ Array($0.connections.values) }) { connection.close(.goingAway, "the node is going away") }
    }
}
