#if Cluster
import ApusCore
import ApusProtocol
import Collections
import Dispatch
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The relay through a NATS broker, instead of direct links: one subject for each life of a node and one for all socket nodes.
/// The broker says who may publish; its messages are hints like those of the links, none is kept.
///
/// Each subject keeps the order of its publisher. Between the two there is none: readers' cursors put right what they cross.
public final class NATSRelay: Relay, Service {
    private struct Outgoing: Sendable {
        var subject: String
        var message: RelayMessage
        var bytes: Int
    }

    private struct State {
        var connection: NATSConnection?
        var waiting: Deque<Outgoing> = []
        var waitingBytes = 0
        var isDraining = false
        var lossCount = 0
    }

    private let configuration: Configuration
    private let node: NodeID
    private let receiver: (any RelayReceiver)?
    private let logger: Logger
    private let state = NIOLockedValueBox(State())
    /// Between two attempts to connect where libnats makes none itself.
    private static let pause = Duration.seconds(1)
    /// libnats may block while it writes.
    private let queue = DispatchQueue(label: "apus.nats")

    /// - Parameters:
    ///   - node: this one.
    ///   - receiver: called on threads of libnats; nil: this node holds no sessions.
    public init(configuration: Configuration, node: NodeID, receiver: (any RelayReceiver)?, logger: Logger) {
        self.configuration = configuration
        self.node = node
        self.receiver = receiver
        self.logger = logger
    }

    /// Messages that were given up.
    public var lossCount: Int { state.withLockedValue { $0.lossCount } }

    public var isConnected: Bool { state.withLockedValue { $0.connection }?.isConnected ?? false }

    public func send(_ batch: [RelayMessage], to node: NodeID) { enqueue(batch, subject(of: node)) }

    public func sendToAll(_ batch: [RelayMessage]) { enqueue(batch, subjectOfAll) }

    private func subject(of node: NodeID) -> String { "\(configuration.subjectPrefix).node.\(node.number).\(node.epoch)" }

    private var subjectOfAll: String { "\(configuration.subjectPrefix).all" }

    /// Publishes until shutdown, and then what still waits. While the broker is away, or refuses this node, it is tried again and again.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await self.connect()
                try? await Task.sleep(for: Self.pause)
            }
        }
        await onQueue {
            self.drain()
            self.state.withLockedValue { $0.connection.take() }?.close()
        }
    }

    /// Returns when there is no connection, or libnats has given it up, or the task is cancelled.
    private func connect() async {
        let (ends, end) = AsyncStream<Never>.makeStream()
        let logger = logger
        let result = await onQueue {
            Result { try self.makeConnection { Self.log($0, logger, end) } }
        }
        switch result {
        case .success(let connection):
            // What comes later is told by libnats.
            if connection.isConnected { logger.info("connected to NATS") } else { logger.warning("waiting for NATS") }
            state.withLockedValue { $0.connection = connection }
            drainLater()
            for await _ in ends {}
        case .failure(let error):
            logger.warning("waiting for NATS", metadata: ["error": "\(error)"])
        }
    }

    private func makeConnection(_ happened: @escaping @Sendable (NATSConnection.Event) -> Void) throws -> NATSConnection {
        let connection = try NATSConnection(configuration, name: "apus \(node)", happened: happened)
        guard receiver != nil else { return connection }
        for subject in [subject(of: node), subjectOfAll] {
            try connection.subscribe(subject) { [weak self] in self?.received($0) }
        }
        if connection.isConnected { connection.announceSubscriptions() }
        return connection
    }

    private static func log(_ event: NATSConnection.Event, _ logger: Logger, _ end: AsyncStream<Never>.Continuation) {
        switch event {
        case .connected: logger.info("connected to NATS")
        case .disconnected(let reason):
            logger.warning("NATS is away; the sweep finds what is not handed over", metadata: ["reason": "\(reason)"])
        case .failed(let reason): logger.warning("NATS complains", metadata: ["reason": "\(reason)"])
        case .closed(let reason):
            logger.info("the connection to NATS is closed", metadata: ["reason": "\(reason)"])
            end.finish()
        }
    }

    private func onQueue<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: body()) }
        }
    }

    private func enqueue(_ messages: [RelayMessage], _ subject: String) {
        state.withLockedValue { state in
            for message in messages {
                let bytes = message.wireBytesMax
                if bytes > configuration.batchBytesMax || state.waitingBytes + bytes > configuration.bufferBytesMax {
                    state.lossCount += 1
                } else {
                    state.waiting.append(Outgoing(subject: subject, message: message, bytes: bytes))
                    state.waitingBytes += bytes
                }
            }
        }
        drainLater()
    }

    private func drainLater() {
        let isDue = state.withLockedValue { state in
            guard state.connection != nil, !state.isDraining, !state.waiting.isEmpty else { return false }
            state.isDraining = true
            return true
        }
        if isDue { queue.async { self.drain() } }
    }

    private func drain() {
        while let (connection, subject, messages) = nextBatch() {
            var batch = WireRelayBatch(messages)
            batch.from = WirePeerNode(node)
            let isTaken: Bool
            do {
                isTaken = connection.publish(try batch.encoded(), to: subject)
            } catch {
                logger.error("relay batch not encoded", metadata: ["error": "\(error)"])
                isTaken = false
            }
            if !isTaken { state.withLockedValue { $0.lossCount += messages.count } }
        }
    }

    /// What comes next for one subject.
    private func nextBatch() -> (NATSConnection, String, [RelayMessage])? {
        state.withLockedValue { state in
            guard let connection = state.connection, let subject = state.waiting.first?.subject else {
                state.isDraining = false
                return nil
            }
            var messages: [RelayMessage] = []
            var bytes = 0
            while let next = state.waiting.first, next.subject == subject, bytes + next.bytes <= configuration.batchBytesMax {
                state.waiting.removeFirst()
                messages.append(next.message)
                bytes += next.bytes
            }
            state.waitingBytes -= bytes
            return (connection, subject, messages)
        }
    }

    private func received(_ bytes: [UInt8]) {
        do {
            let batch = try WireRelayBatch(decoding: bytes)
            guard let from = NodeID(batch.from) else { throw FrameError.undecodable("from no node") }
            receiver?.receive(batch.relayMessages, from: from)
        } catch {
            logger.warning("a message of the broker is none of this cluster", metadata: ["error": "\(error)"])
        }
    }
}
#endif
