import ApusCore
import ApusProtocol
import Logging
import NIOCore

/// One connection of a peer, at the end that listened. Confined to its event loop.
final class PeerInbound: MessageSink {
    private let node: NodeID
    private let configuration: PeerConfiguration
    private let verifier: any TokenVerifier
    private let receiver: any RelayReceiver
    private let connections: PeerConnections
    private let eventLoop: any EventLoop
    private let logger: Logger
    private var machine: PeerListenerMachine
    private var carrier: CarrierHandler<PeerInbound>?
    private var timer: RepeatedTask?
    private var silentSeconds = 0
    private var acknowledged: UInt64 = 0
    private var isAuthenticated = false

    init(
        node: NodeID, configuration: PeerConfiguration, verifier: any TokenVerifier, receiver: any RelayReceiver,
        connections: PeerConnections, eventLoop: any EventLoop, logger: Logger
    ) {
        self.node = node
        self.configuration = configuration
        self.verifier = verifier
        self.receiver = receiver
        self.connections = connections
        self.eventLoop = eventLoop
        self.logger = logger
        machine = PeerListenerMachine(node: node)
    }

    func opened(_ carrier: CarrierHandler<PeerInbound>, kind: CarrierKind) {
        self.carrier = carrier
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        timer = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in bound.value.secondPassed() }
    }

    func received(_ message: ByteBuffer) {
        // What comes slowly before hello does not win time with it.
        if isAuthenticated { silentSeconds = 0 }
        do {
            perform(machine.received(try WirePeerFrame(decoding: message)))
        } catch {
            perform(machine.close(.malformed, "not a frame of a peer link"))
        }
    }

    /// Acknowledges all that came with this read at once.
    func readCompleted() {
        guard isAuthenticated, machine.lastNumber > acknowledged else { return }
        acknowledged = machine.lastNumber
        var ack = WirePeerAck()
        ack.number = acknowledged
        write(WirePeerFrame(.ack(ack)))
    }

    /// Acknowledgements are few and small: a peer that does not read them has stopped sending.
    func writabilityChanged() {}

    func closed() {
        _ = machine.close(.normal, "")
        timer?.cancel()
        carrier = nil
        connections.remove(self, isAuthenticated: isAuthenticated)
    }

    func close(_ code: CloseCode, _ reason: String) { perform(machine.close(code, reason)) }

    private func perform(_ action: PeerListenerMachine.Action) {
        switch action {
        case .verify(let accessToken): verify(accessToken)
        case .welcome(let peer): welcome(peer)
        case .pass(let messages, let peer): if !messages.isEmpty { receiver.receive(messages, from: peer) }
        case .close(let code, let reason):
            if code != .normal, code != .goingAway {
                logger.warning("connection of a peer closed", metadata: ["code": "\(code.rawValue)", "reason": "\(reason)"])
            }
            carrier?.close(code, reason)
        case .nothing: break
        }
    }

    private func verify(_ accessToken: String) {
        let (verifier, eventLoop) = (verifier, eventLoop)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        Task {
            let result: Result<AccessGrant, ApusError>
            do {
                result = .success(try await verifier.verify(accessToken: accessToken))
            } catch let error as ApusError {
                result = .failure(error)
            } catch {
                result = .failure(ApusError(.internal, "the token could not be checked", cause: error))
            }
            eventLoop.execute { bound.value.perform(bound.value.machine.verified(result)) }
        }
    }

    private func welcome(_ peer: NodeID) {
        isAuthenticated = true
        silentSeconds = 0
        connections.authenticated(self, peer: peer)
        carrier?.allow(messageBytesMax: configuration.frameBytesMax)
        var welcome = WirePeerWelcome()
        welcome.node = WirePeerNode(node)
        welcome.frameBytesMax = UInt32(configuration.frameBytesMax)
        write(WirePeerFrame(.welcome(welcome)))
        carrier?.flush()
        logger.info("peer is connected", metadata: ["peer": "\(peer)"])
    }

    private func secondPassed() {
        silentSeconds += 1
        if !isAuthenticated {
            if silentSeconds >= configuration.handshakeSeconds { perform(machine.close(.handshakeTimeout, "no hello in time")) }
        } else if silentSeconds >= 3 * configuration.heartbeatSeconds {
            perform(machine.close(.heartbeatTimeout, "nothing heard for too long"))
        }
    }

    private func write(_ frame: WirePeerFrame) {
        do {
            carrier?.write(try CarrierKind.tcp.frame(sizeHint: 64) { try frame.encode(into: &$0) })
        } catch {
            logger.error("peer frame not encoded", metadata: ["error": "\(error)"])
            perform(machine.close(.unavailable, "failed"))
        }
    }
}
