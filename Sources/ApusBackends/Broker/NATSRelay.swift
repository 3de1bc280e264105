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
    public struct Configuration: Sendable {
        /// `nats://user:password@host:port`, or `tls://…`.
        public var url: String
        /// A PEM file with the roots that the broker's certificate is checked against; nil: as the URL says, with the system's.
        public var trustedCertificates: String?
        /// Of all subjects; two clusters on one broker have two.
        public var subjectPrefix = "apus.relay"
        /// About as many bytes may wait to be published, and again as many for a broker that is away.
        public var bufferBytesMax = 16 << 20
        /// About as much goes into one message of the broker, whose own limit is 1 MiB.
        public var batchBytesMax = 256 << 10

        public init(url: String) { self.url = url }
    }

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

    /// Publishes until shutdown, and then what still waits. While the broker is away it is tried again and again.
    /// - Throws: ``ApusError`` `invalid_argument` for a configuration that libnats does not take.
    public func run() async throws {
        let connection = try await onQueue {
            let connection = try NATSConnection(self.configuration, name: "apus \(self.node)")
            guard self.receiver != nil else { return connection }
            for subject in [self.subject(of: self.node), self.subjectOfAll] {
                try connection.subscribe(subject) { [weak self] in self?.received($0) }
            }
            connection.announceSubscriptions()
            return connection
        }
        state.withLockedValue { $0.connection = connection }
        logger.info("relaying through NATS", metadata: ["connected": "\(connection.isConnected)"])
        drainLater()
        try? await gracefulShutdown()
        try await onQueue {
            self.drain()
            connection.close()
        }
        state.withLockedValue { $0.connection = nil }
    }

    private func onQueue<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
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
