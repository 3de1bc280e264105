import ApusCore
import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// The way to one life of one other node: a connection that is made again when it breaks, and what waits for it.
///
/// One connection per peer, not one per peer and event loop: the hand-over comes from one task and in the order of the log, one
/// connection keeps that order without numbering, and carries more than a node can append (a million messages a second).
final class PeerLink: Sendable {
    private enum Connection {
        case none
        case open(NIOLoopBound<PeerOutbound>)
    }

    private struct State {
        var outbox: PeerOutbox
        var connection = Connection.none
        var isPumpScheduled = false
        /// The node left the registry: the connection is used as long as it lasts, and not made again.
        var isRetired = false
        var wasOpen = false
        var closedBy: CloseCode?
    }

    let peer: NodeID
    private let address: NetworkAddress
    private let node: NodeID
    private let configuration: PeerConfiguration
    private let tokens: any PeerTokenSource
    private let eventLoop: any EventLoop
    private let losses: LossCounter
    private let logger: Logger
    private let state: NIOLockedValueBox<State>

    init(
        to peer: NodeID, at address: NetworkAddress, from node: NodeID, configuration: PeerConfiguration,
        tokens: any PeerTokenSource, eventLoop: any EventLoop, losses: LossCounter, logger: Logger
    ) {
        self.peer = peer
        self.address = address
        self.node = node
        self.configuration = configuration
        self.tokens = tokens
        self.eventLoop = eventLoop
        self.losses = losses
        var logger = logger
        logger[metadataKey: "peer"] = "\(peer)"
        self.logger = logger
        let limits = PeerOutbox.Limits(
            queueBytesMax: configuration.queueBytesMax, windowBytesMax: configuration.windowBytesMax,
            batchBytesMax: configuration.batchBytesMax, messageBytesMax: configuration.frameBytesMax - 64)
        state = NIOLockedValueBox(State(outbox: PeerOutbox(limits: limits)))
    }

    // MARK: For the relay

    /// Queues messages; all that comes in one turn of the event loop is written together.
    func send(_ messages: [RelayMessage]) {
        let (dropped, toPump) = state.withLockedValue { state -> (Int, NIOLoopBound<PeerOutbound>?) in
            let dropped = state.outbox.add(messages)
            guard case .open(let outbound) = state.connection, !state.isPumpScheduled else { return (dropped, nil) }
            state.isPumpScheduled = true
            return (dropped, outbound)
        }
        losses.add(dropped)
        if let toPump { eventLoop.execute { toPump.value.pump() } }
    }

    /// Whether nothing is to be sent, or nothing can be.
    var isFlushed: Bool {
        state.withLockedValue { state in
            guard case .open = state.connection else { return true }
            return state.outbox.isIdle
        }
    }

    var isOpen: Bool { state.withLockedValue { if case .open = $0.connection { true } else { false } } }
    var waitingCount: Int { state.withLockedValue { $0.outbox.waitingCount } }
    var waitingBytes: Int { state.withLockedValue { $0.outbox.waitingBytes } }

    /// The node is not registered any more. While it drains its connection is as good as before.
    func retire() { state.withLockedValue { $0.isRetired = true } }

    /// It is registered again.
    /// - Returns: false: too late, the connection is gone.
    func revive() -> Bool {
        state.withLockedValue { state in
            guard case .open = state.connection else { return !state.isRetired }
            state.isRetired = false
            return true
        }
    }

    /// This life of the node is over.
    func end() {
        retire()
        let outbound: NIOLoopBound<PeerOutbound>? = state.withLockedValue { state in
            guard case .open(let outbound) = state.connection else { return nil }
            return outbound
        }
        if let outbound { eventLoop.execute { outbound.value.close() } }
    }

    /// Connects, and connects again, until the link is retired and its connection gone, or the task is cancelled.
    func run() async {
        var backoff = PeerBackoff(millisecondsMax: configuration.retryMillisecondsMax)
        while !Task.isCancelled, !state.withLockedValue({ $0.isRetired }) {
            do {
                if try await connection() {
                    backoff.succeeded()
                } else {
                    losses.add(state.withLockedValue { $0.outbox.clear() })
                }
            } catch {
                // What waited for this connection is old by the time of the next one.
                losses.add(state.withLockedValue { $0.outbox.clear() })
                if !Task.isCancelled { logger.info("cannot connect to peer", metadata: ["error": "\(error)"]) }
            }
            if state.withLockedValue({ $0.isRetired }) { break }
            try? await Task.sleep(for: backoff.next(random: Double.random(in: 0..<1)))
        }
        losses.add(state.withLockedValue { $0.outbox.clear() })
    }

    /// Returns when the connection is over.
    /// - Returns: whether it had been open.
    private func connection() async throws -> Bool {
        state.withLockedValue { state in
            state.wasOpen = false
            state.closedBy = nil
        }
        let token = try await tokens.accessToken()
        var hello = WirePeerHello()
        hello.accessToken = token
        hello.from = WirePeerNode(node)
        hello.to = WirePeerNode(peer)
        let channel = try await connect(hello)
        logger.debug("connected to peer")
        try await withTaskCancellationHandler {
            try await channel.closeFuture.get()
        } onCancel: {
            channel.close(promise: nil)
        }
        let (wasOpen, closedBy) = state.withLockedValue { ($0.wasOpen, $0.closedBy) }
        if let closedBy { logger.info("the peer closed the link", metadata: ["code": "\(closedBy.rawValue)"]) }
        if closedBy == .tokenRefused {
            logger.warning("the peer refused this node's token")
            await tokens.refused(token)
        }
        return wasOpen
    }

    private func connect(_ hello: WirePeerHello) async throws -> any Channel {
        let (configuration, peer, logger) = (configuration, peer, logger)
        return try await ClientBootstrap(group: eventLoop)
            .connectTimeout(.milliseconds(Int64(configuration.connectMilliseconds)))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: 256 << 10, high: 1 << 20))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let certificate = configuration.certificate {
                        try channel.pipeline.syncOperations.addHandlers(try certificate.makeClientHandler(), PeerTLSLog(logger: logger))
                    }
                    let outbound = PeerOutbound(
                        link: self, hello: hello, peer: peer, configuration: configuration, eventLoop: channel.eventLoop, logger: logger)
                    try channel.pipeline.syncOperations.addHandler(
                        CarrierHandler(start: .tcp, messageBytesMax: configuration.helloBytesMax, sink: outbound))
                }
            }
            .connect(host: address.host, port: address.port).get()
    }

    // MARK: For the connection, on its event loop

    func opened(_ outbound: NIOLoopBound<PeerOutbound>) {
        state.withLockedValue { state in
            state.connection = .open(outbound)
            state.wasOpen = true
        }
        logger.info("peer link is open")
    }

    func disconnected() {
        let lost = state.withLockedValue { state in
            state.connection = .none
            state.isPumpScheduled = false
            return state.outbox.connectionEnded()
        }
        losses.add(lost)
    }

    func closed(by code: CloseCode) { state.withLockedValue { $0.closedBy = code } }
    func pumpBegins() { state.withLockedValue { $0.isPumpScheduled = false } }
    func nextBatch() -> (number: UInt64, messages: [RelayMessage])? { state.withLockedValue { $0.outbox.nextBatch() } }
    func acknowledge(through number: UInt64) -> Bool { state.withLockedValue { $0.outbox.acknowledge(through: number) } }
    func heartbeat() -> UInt64 { state.withLockedValue { $0.outbox.heartbeat() } }
    var hasInFlight: Bool { state.withLockedValue { $0.outbox.hasInFlight } }
}

/// How long to wait before the next attempt: longer each time, and by chance, so that not all nodes knock at one moment. Pure.
struct PeerBackoff {
    private static let millisecondsMin = 100
    private let millisecondsMax: Int
    private var failures = 0

    init(millisecondsMax: Int) { self.millisecondsMax = millisecondsMax }

    mutating func succeeded() { failures = 0 }

    /// - Parameter random: 0 to 1.
    mutating func next(random: Double) -> Duration {
        let limit = min(Self.millisecondsMin << min(failures, 16), millisecondsMax)
        failures += 1
        return .milliseconds(Int64(Double(limit) * (0.5 + random / 2)))
    }
}

/// Counts the messages that a relay gave up.
final class LossCounter: Sendable {
    private let total = NIOLockedValueBox(0)

    var count: Int { total.withLockedValue { $0 } }
    func add(_ count: Int) { if count > 0 { total.withLockedValue { $0 += count } } }
}
