import ApusCore
import ApusProtocol
import NIOCore

/// One connection of a device, confined to its event loop. Carries out what its ``SessionMachine`` decides.
final class Session: MessageSink {
    let id: SessionID
    private unowned let hub: LoopHub
    private var carrier: CarrierHandler<Session>?
    private var kind = CarrierKind.tcp
    private var machine = SessionMachine()
    private var cursors = ReaderCursors()
    /// Set once the session was welcomed, and kept after its close: the hub files it under this.
    private(set) var identity: SessionIdentity?
    /// Requests that wait for their answers.
    private var inFlight = 0
    /// The hub's tick at which this session was last heard of.
    private var heardTick: Int
    /// When the last `typing` was passed on; nil: never. The clock of a loop begins at 0, which is a time like any other.
    private var typedTick: Int?
    private var hasUnflushed = false
    /// The peer's address while the session counts as a handshake of that address.
    var handshakeAddress: AddressKey?

    init(id: SessionID, hub: LoopHub, handshakeAddress: AddressKey?) {
        self.id = id
        self.hub = hub
        self.handshakeAddress = handshakeAddress
        heardTick = hub.tick
    }

    // MARK: From the carrier

    /// Before anything has come: a connection that never gets as far as ``opened(_:kind:)`` is closed in time as well.
    func connected(_ carrier: CarrierHandler<Session>) { self.carrier = carrier }

    func opened(_ carrier: CarrierHandler<Session>, kind: CarrierKind) { self.kind = kind }

    func received(_ message: ByteBuffer) {
        heardTick = hub.tick
        do {
            perform(machine.received(try kind.encoding.decodeClientFrame(message)))
        } catch FrameError.undecodable(let reason) {
            perform(machine.receivedMalformed(reason))
        } catch {
            perform(machine.receivedMalformed("\(error)"))
        }
        regulateReads()
    }

    func readCompleted() { hasUnflushed = false }

    func writabilityChanged() { regulateReads() }

    func closed() {
        carrier = nil
        hub.remove(self, identity: identity)
        _ = machine.close(.normal, "")
    }

    // MARK: From the hub

    /// The tick at which the session is over unless it is heard of before.
    var deadline: Int {
        machine.identity == nil ? heardTick + hub.handshakeTicks : heardTick + hub.silenceTicks
    }

    func expire() {
        if machine.identity == nil {
            close(.handshakeTimeout, "no hello in time")
        } else {
            close(.heartbeatTimeout, "nothing heard for too long")
        }
    }

    func admitted(_ result: Result<SessionIdentity, ApusError>) {
        perform(machine.admitted(result))
        flushIfNeeded()
    }

    /// Pushes an entry, if this is its turn.
    func push(_ encoded: inout EncodedEntry, isDuplicate: Bool) {
        let entry = encoded.entry
        // The audience of an old entry is that of now: whoever joined after it must not see it. Reading it from the store applies each reader's
        // own visibility (C7), and most have it already.
        if isDuplicate { return repair(ConversationHead(conversation: entry.conversation, seq: entry.seq)) }
        switch cursors.offer(entry.conversation, entry.seq) {
        case .push: push(encoded.frame(for: kind))
        case .skip: break
        case .fill(let range): fill(entry.conversation, range)
        }
    }

    /// What this session sent is durable. On the session itself the ack stands for the entry.
    func acknowledge(_ entry: Entry, clientID: String, ref: UInt32, isDuplicate: Bool) {
        if !isDuplicate, case .fill(let range) = cursors.offer(entry.conversation, entry.seq) { fill(entry.conversation, range) }
        let ack = AckFrame(ref: ref, conversation: entry.conversation, clientID: clientID, id: entry.id, seq: entry.seq, at: entry.at)
        answer(kind.frame(sizeHint: 128) { kind.encoding.encode(ack, into: &$0) })
    }

    func refuseSend(_ error: ApusError, conversation: ConversationID, clientID: String, ref: UInt32) {
        var wire = WireError(error)
        wire.conversation = conversation.rawValue
        wire.clientID = clientID
        answer(encode(WireServerFrame(ref: ref, .error(wire))))
    }

    /// The log reaches at least so far: is this session behind it?
    func repair(_ head: ConversationHead) {
        guard cursors.isKnown(head.conversation) else { return point(to: head) }
        if let range = cursors.reach(head.conversation, head.seq) { fill(head.conversation, range) }
    }

    func signal(_ signal: Signal) { push(encode(WireServerFrame(signal))) }

    func goaway(reason: String, reconnectAfterMilliseconds: UInt32) {
        var goaway = WireGoaway()
        goaway.reason = reason
        goaway.reconnectAfterMs = reconnectAfterMilliseconds
        push(encode(WireServerFrame(.goaway(goaway))))
        flushIfNeeded()
    }

    func close(_ code: CloseCode, _ reason: String) { perform(machine.close(code, reason)) }

    func flushIfNeeded() {
        guard hasUnflushed else { return }
        hasUnflushed = false
        carrier?.flush()
    }

    // MARK: Actions

    private func perform(_ action: SessionMachine.Action) {
        switch action {
        case .admit(let token): hub.admit(self, accessToken: token)
        case .welcome(let ref): welcome(ref: ref)
        case .submit(let send): submit(send)
        case .schedule(let send): schedule(send)
        case .mark(let mark): attempt(ref: 0) { try hub.delivery.mark(mark) }
        case .typing(let conversation): typing(conversation)
        case .heads(let token, let ref): heads(token: token, ref: ref)
        case .page(let conversation, let from, let limit, let ref): page(conversation, from: from, limit: limit, ref: ref)
        case .pong(let ref): push(encode(WireServerFrame(ref: ref, .pong(WirePong()))))
        case .refuse(let error, let ref): push(encode(WireServerFrame(ref: ref, .error(WireError(error)))))
        case .close(let code, let reason): carrier?.close(code, reason)
        case .nothing: break
        }
    }

    private func welcome(ref: UInt32) {
        guard let identity = machine.identity, let carrier else { return }
        let configuration = hub.configuration
        self.identity = identity
        hub.open(self, identity: identity)
        carrier.allow(messageBytesMax: configuration.frameBytesMax)
        var welcome = WireWelcome()
        welcome.session = id.rawValue
        welcome.account = identity.account.rawValue
        welcome.device = identity.device.rawValue
        welcome.heartbeatMs = UInt32(configuration.heartbeatSeconds * 1000)
        welcome.frameBytesMax = UInt32(configuration.frameBytesMax)
        welcome.bodyBytesMax = UInt32(hub.delivery.rules.bodyBytesMax)
        welcome.inFlightMax = UInt32(configuration.inFlightMax)
        welcome.serverTime = hub.clock.now.milliseconds
        push(encode(WireServerFrame(ref: ref, .welcome(welcome))))
    }

    private func submit(_ send: SendFrame) {
        guard let identity = machine.identity else { return }
        switch hub.delivery.submit(send, from: identity.account, address: SessionAddress(loop: hub.index, session: id)) {
        case .taken: inFlight += 1
        case .refused(let error):
            inFlight += 1
            refuseSend(error, conversation: send.conversation, clientID: send.clientID, ref: send.ref)
        // Refusing this one and taking the next would turn the order of the two around.
        case .overloaded: close(.unavailable, "too many sends are waiting")
        }
    }

    private func schedule(_ send: SendFrame) {
        guard let identity = machine.identity else { return }
        let delivery = hub.delivery
        hub.ask(self) {
            try await delivery.schedule(send, from: identity.account)
        } then: { session, result in
            switch result {
            case .success(let ack): session.answer(session.kind.frame(sizeHint: 128) { session.kind.encoding.encode(ack, into: &$0) })
            case .failure(let error):
                session.refuseSend(error, conversation: send.conversation, clientID: send.clientID, ref: send.ref)
            }
        }
        inFlight += 1
    }

    private func typing(_ conversation: ConversationID) {
        // More often than once a second says nothing new.
        guard let identity = machine.identity, hub.tick != typedTick else { return }
        typedTick = hub.tick
        inFlight += 1
        let (delivery, id) = (hub.delivery, id)
        hub.ask(self) {
            try await delivery.typing(in: conversation, by: identity.account, session: id)
        } then: { session, result in
            session.inFlight -= 1
            if case .failure(let error) = result { session.push(session.encode(WireServerFrame(.error(WireError(error))))) }
        }
    }

    private func heads(token: String, ref: UInt32) {
        guard let identity = machine.identity else { return }
        inFlight += 1
        let delivery = hub.delivery
        hub.ask(self) {
            try await delivery.heads(for: identity.account, token: token)
        } then: { session, result in
            session.answer(result.map { WireServerFrame($0, ref: ref) }, ref: ref)
        }
    }

    private func page(_ conversation: ConversationID, from: Seq, limit: Int, ref: UInt32) {
        guard let identity = machine.identity else { return }
        inFlight += 1
        let delivery = hub.delivery
        hub.ask(self) {
            try await delivery.page(of: conversation, for: identity.account, from: from, limit: limit)
        } then: { session, result in
            session.answer(result.map { WireServerFrame($0, of: conversation, ref: ref) }, ref: ref)
        }
    }

    /// Reads a gap from the store and pushes it.
    private func fill(_ conversation: ConversationID, _ range: ClosedRange<Seq>) {
        guard let identity = machine.identity else { return }
        let delivery = hub.delivery
        hub.ask(self) {
            try await delivery.page(of: conversation, for: identity.account, from: range.lowerBound, limit: 0)
        } then: { session, result in
            guard case .success(.page(_, let through, _, let entries)) = result else { return session.cursors.forget(conversation) }
            for entry in entries where entry.seq <= range.upperBound {
                var encoded = EncodedEntry(entry)
                session.push(encoded.frame(for: session.kind))
            }
            // A page that ends before the range does because of what the reader may see covers the range.
            let covered = entries.isEmpty ? range.upperBound : min(through, range.upperBound)
            if let rest = session.cursors.filled(conversation, through: covered) { session.fill(conversation, rest) }
        }
    }

    // MARK: Writing

    private func answer(_ result: Result<WireServerFrame, ApusError>, ref: UInt32) {
        switch result {
        case .success(let frame): answer(encode(frame))
        case .failure(let error): answer(encode(WireServerFrame(ref: ref, .error(WireError(error)))))
        }
    }

    /// The answer to a request of the client, who waits for it.
    private func answer(_ frame: ByteBuffer) {
        inFlight -= 1
        push(frame)
        regulateReads()
    }

    private func point(to head: ConversationHead) { push(encode(WireServerFrame(.head(WireHead(head))))) }

    /// Queues a frame. A reader that does not keep up is closed: it catches up from the store (C8).
    private func push(_ frame: ByteBuffer) {
        guard let carrier, machine.identity != nil else { return }
        if !carrier.isWritable {
            // What was queued in this turn of the loop has not been tried yet.
            carrier.flush()
            if !carrier.isWritable { return close(.slowConsumer, "this connection does not keep up") }
        }
        carrier.write(frame)
        if !hasUnflushed {
            hasUnflushed = true
            hub.willFlush(self)
        }
    }

    private func encode(_ frame: WireServerFrame) -> ByteBuffer {
        var failure: (any Error)?
        let buffer = kind.frame(sizeHint: 256) { buffer in
            do { try kind.encoding.encode(frame, into: &buffer) } catch { failure = error }
        }
        if let failure { hub.logger.error("frame not encoded", metadata: ["error": "\(failure)"]) }
        return buffer
    }

    private func attempt(ref: UInt32, _ body: () throws -> Void) {
        do { try body() } catch let error as ApusError {
            push(encode(WireServerFrame(ref: ref, .error(WireError(error)))))
        } catch {
            push(encode(WireServerFrame(ref: ref, .error(WireError(ApusError(.internal, "failed", cause: error))))))
        }
    }

    /// A client with too many questions open, or one that does not take the answers, is not read from.
    private func regulateReads() {
        guard let carrier else { return }
        carrier.pauseReads(inFlight >= hub.configuration.inFlightMax || !carrier.isWritable)
    }
}
