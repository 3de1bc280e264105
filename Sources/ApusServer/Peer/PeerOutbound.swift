import ApusCore
import ApusProtocol
import Logging
import NIOCore

/// One connection to a peer, at the end that connected. Confined to its event loop.
final class PeerOutbound: MessageSink {
    private let link: PeerLink
    private let hello: WirePeerHello
    private let configuration: PeerConfiguration
    private let eventLoop: any EventLoop
    private let logger: Logger
    private var machine: PeerDialerMachine
    private var carrier: CarrierHandler<PeerOutbound>?
    private var timer: RepeatedTask?
    /// Seconds in which the peer left us without an answer that it owes, or in which there was nothing to say.
    private var silentSeconds = 0
    private var idleSeconds = 0

    init(
        link: PeerLink, hello: WirePeerHello, peer: NodeID, configuration: PeerConfiguration, eventLoop: any EventLoop, logger: Logger
    ) {
        self.link = link
        self.hello = hello
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        machine = PeerDialerMachine(peer: peer)
    }

    func opened(_ carrier: CarrierHandler<PeerOutbound>, kind: CarrierKind) {
        self.carrier = carrier
        write(WirePeerFrame(.hello(hello)))
        carrier.flush()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        timer = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in bound.value.secondPassed() }
    }

    func received(_ message: ByteBuffer) {
        do {
            perform(machine.received(try WirePeerFrame(decoding: message)))
        } catch {
            perform(machine.close(.malformed, "not a frame of a peer link"))
        }
    }

    func readCompleted() { pump() }

    func writabilityChanged() { pump() }

    func closed() {
        _ = machine.close(.normal, "")
        timer?.cancel()
        carrier = nil
        link.disconnected()
    }

    /// Sends what waits, as far as the socket and the window take it.
    func pump() {
        link.pumpBegins()
        guard machine.isOpen, let carrier else { return }
        var hasWritten = false
        while carrier.isWritable, let (number, messages) = link.nextBatch() {
            var batch = WireRelayBatch(messages)
            batch.number = number
            write(WirePeerFrame(.batch(batch)))
            hasWritten = true
        }
        guard hasWritten else { return }
        idleSeconds = 0
        carrier.flush()
    }

    func close() { perform(machine.close(.goingAway, "")) }

    private func perform(_ action: PeerDialerMachine.Action) {
        switch action {
        case .open:
            silentSeconds = 0
            link.opened(NIOLoopBound(self, eventLoop: eventLoop))
            pump()
        case .acknowledged(let number):
            silentSeconds = 0
            if !link.acknowledge(through: number) { perform(machine.close(.outOfState, "no batch \(number) was sent")) }
        case .close(let code, let reason):
            if code != .goingAway { logger.warning("peer link closed", metadata: ["code": "\(code.rawValue)", "reason": "\(reason)"]) }
            carrier?.close(code, reason)
        case .closed(let code):
            link.closed(by: code)
            carrier?.close(.normal, "")
        case .nothing: break
        }
    }

    private func secondPassed() {
        if !machine.isOpen {
            silentSeconds += 1
            if silentSeconds >= configuration.handshakeSeconds { perform(machine.close(.handshakeTimeout, "no welcome in time")) }
        } else if link.hasInFlight {
            silentSeconds += 1
            if silentSeconds >= configuration.acknowledgeSeconds {
                perform(machine.close(.heartbeatTimeout, "nothing acknowledged for too long"))
            }
        } else {
            silentSeconds = 0
            idleSeconds += 1
            guard idleSeconds >= configuration.heartbeatSeconds else { return }
            idleSeconds = 0
            var batch = WireRelayBatch()
            batch.number = link.heartbeat()
            write(WirePeerFrame(.batch(batch)))
            carrier?.flush()
        }
    }

    private func write(_ frame: WirePeerFrame) {
        do {
            carrier?.write(try CarrierKind.tcp.frame(sizeHint: 256) { try frame.encode(into: &$0) })
        } catch {
            logger.error("peer frame not encoded", metadata: ["error": "\(error)"])
            perform(machine.close(.unavailable, "failed"))
        }
    }
}
