import ApusCore
import ApusProtocol
import Logging
import NIOCore

/// The sessions of one event loop, and everything that is done to several of them. Confined to the loop: no locks.
final class LoopHub {
    let index: Int
    let eventLoop: any EventLoop
    let configuration: SocketConfiguration
    let delivery: Delivery
    let clock: any WallClock
    let logger: Logger
    private let admission: SessionAdmission
    private let gate: ConnectionGate
    private var sessions: [SessionID: Session] = [:]
    private var byAccount: [AccountID: [Session]] = [:]
    /// Devices that were revoked a moment ago: a session that was being admitted meanwhile must not slip through.
    private var revoked: [DeviceID: (code: CloseCode, tick: Int)] = [:]
    private var wheel: TimerWheel<SessionID>
    private var unflushed: [Session] = []
    private var flushScheduled = false

    init(
        index: Int, eventLoop: any EventLoop, configuration: SocketConfiguration, delivery: Delivery, admission: SessionAdmission,
        gate: ConnectionGate, clock: any WallClock, logger: Logger
    ) {
        self.index = index
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.delivery = delivery
        self.admission = admission
        self.gate = gate
        self.clock = clock
        self.logger = logger
        wheel = TimerWheel(delayMax: max(configuration.handshakeSeconds, configuration.heartbeatSeconds * 5 / 2) + 1)
    }

    /// Seconds since the hub began.
    var tick: Int { wheel.tick }
    var handshakeTicks: Int { configuration.handshakeSeconds }
    var silenceTicks: Int { configuration.heartbeatSeconds * 5 / 2 }
    var sessionCount: Int { sessions.count }

    // MARK: Sessions come and go

    func add(_ session: Session) {
        eventLoop.assertInEventLoop()
        sessions[session.id] = session
        wheel.insert(session.id, at: session.deadline)
    }

    func admit(_ session: Session, accessToken: String) {
        let (admission, id) = (admission, session.id)
        let hub = NIOLoopBound(self, eventLoop: eventLoop)
        let eventLoop = eventLoop
        Task {
            let result = await admission.admit(accessToken: accessToken, session: id)
            eventLoop.execute { hub.value.admitted(id, result) }
        }
    }

    private func admitted(_ id: SessionID, _ result: Result<SessionIdentity, ApusError>) {
        guard let session = sessions[id] else {
            if case .success(let identity) = result { leave(id, identity) }
            return
        }
        session.admitted(result)
        // The session was closed while it was being admitted.
        if case .success(let identity) = result, session.identity == nil { leave(id, identity) }
        if let identity = session.identity, let revocation = revoked[identity.device] {
            session.close(revocation.code, "this device was logged out")
        }
    }

    func open(_ session: Session, identity: SessionIdentity) {
        if let address = session.handshakeAddress {
            session.handshakeAddress = nil
            gate.handshakeEnded(address)
        }
        byAccount[identity.account, default: []].append(session)
    }

    func remove(_ session: Session, identity: SessionIdentity?) {
        guard sessions.removeValue(forKey: session.id) != nil else { return }
        if let address = session.handshakeAddress { gate.handshakeEnded(address) }
        gate.connectionEnded()
        guard let identity else { return }
        byAccount[identity.account]?.removeAll { $0 === session }
        if byAccount[identity.account]?.isEmpty == true { byAccount[identity.account] = nil }
        leave(session.id, identity)
    }

    private func leave(_ id: SessionID, _ identity: SessionIdentity) {
        let (admission, logger) = (admission, logger)
        Task {
            do {
                try await admission.leave(id, identity)
            } catch {
                logger.warning("route not removed", metadata: ["session": "\(id)", "error": "\(error)"])
            }
        }
    }

    func closeSessions(of devices: Set<DeviceID>, account: AccountID, code: CloseCode) {
        for device in devices { revoked[device] = (code, tick) }
        for session in byAccount[account] ?? [] {
            if let device = session.identity?.device, devices.contains(device) { session.close(code, "this device was logged out") }
        }
    }

    /// Asks the sessions to reconnect elsewhere, spread over this time so that they do not all arrive there at once.
    func goaway(over milliseconds: Int) {
        let ids = Array(sessions.keys)
        let hub = NIOLoopBound(self, eventLoop: eventLoop)
        for (place, id) in ids.enumerated() {
            let delay = Int64(milliseconds * place / (2 * ids.count))
            eventLoop.scheduleTask(in: .milliseconds(delay)) {
                hub.value.sessions[id]?.goaway(reason: "shutting_down", reconnectAfterMilliseconds: 100)
            }
        }
    }

    func forEachSession(_ body: (Session) -> Void) {
        for session in Array(sessions.values) { body(session) }
    }

    // MARK: Time

    /// Once a second.
    func advance() {
        for id in wheel.advance() {
            guard let session = sessions[id] else { continue }
            if session.deadline <= tick {
                session.expire()
            } else {
                wheel.insert(id, at: session.deadline)
            }
        }
        if !revoked.isEmpty { revoked = revoked.filter { tick - $0.value.tick < 2 * handshakeTicks } }
    }

    // MARK: What was committed

    func handOver(_ batch: [AppendResult]) {
        for result in batch {
            switch result.outcome {
            case .committed(let entry, let audience, let isDuplicate):
                let sender = result.origin?.address.session
                var encoded = EncodedEntry(entry)
                for account in audience.accounts {
                    guard let readers = byAccount[account] else { continue }
                    for session in readers where session.id != sender { session.push(&encoded, isDuplicate: isDuplicate) }
                }
                if let origin = own(result) {
                    origin.session.acknowledge(entry, clientID: result.clientID, ref: origin.ref, isDuplicate: isDuplicate)
                }
            case .refused(let error):
                if let origin = own(result) {
                    origin.session.refuseSend(error, conversation: result.conversation, clientID: result.clientID, ref: origin.ref)
                }
            }
        }
        flush()
    }

    /// The session that sent it, if it is one of this loop and still there.
    private func own(_ result: AppendResult) -> (session: Session, ref: UInt32)? {
        guard let origin = result.origin, origin.address.loop == index, let session = sessions[origin.address.session] else { return nil }
        return (session, origin.ref)
    }

    func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {
        for account in audience.accounts {
            for session in byAccount[account] ?? [] where session.id != except { session.signal(signal) }
        }
        flush()
    }

    func repair(_ head: ConversationHead, audience: Audience) {
        for account in audience.accounts {
            for session in byAccount[account] ?? [] { session.repair(head) }
        }
        flush()
    }

    // MARK: Writing

    /// The session wrote something that must be flushed before the loop turns to something else.
    func willFlush(_ session: Session) {
        unflushed.append(session)
        guard !flushScheduled else { return }
        flushScheduled = true
        let hub = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { hub.value.flush() }
    }

    private func flush() {
        flushScheduled = false
        let sessions = unflushed
        unflushed.removeAll(keepingCapacity: sessions.count <= 1024)
        for session in sessions { session.flushIfNeeded() }
    }

    // MARK: Questions to the store

    /// Asks off the loop and answers on it; a session that is gone by then gets no answer.
    func ask<Answer: Sendable>(
        _ session: Session, _ question: @escaping @Sendable () async throws -> Answer,
        then: @escaping @Sendable (Session, Result<Answer, ApusError>) -> Void
    ) {
        let (id, eventLoop) = (session.id, eventLoop)
        let hub = NIOLoopBound(self, eventLoop: eventLoop)
        Task {
            let result: Result<Answer, ApusError>
            do {
                result = .success(try await question())
            } catch let error as ApusError {
                result = .failure(error)
            } catch {
                result = .failure(ApusError(.internal, "the server failed to answer", cause: error))
            }
            eventLoop.execute {
                guard let session = hub.value.sessions[id] else { return }
                then(session, result)
                session.flushIfNeeded()
            }
        }
    }
}
