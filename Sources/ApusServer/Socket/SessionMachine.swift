import ApusCore
import ApusProtocol

/// Who a session is.
struct SessionIdentity: Sendable, Equatable {
    var account: AccountID
    var device: DeviceID
}

/// What a session may do when: hello first, then requests, nothing after the close. Pure: the session carries the actions out.
struct SessionMachine {
    private enum State {
        case awaitingHello
        case admitting(ref: UInt32)
        case open(SessionIdentity)
        case closed
    }

    enum Action {
        case admit(accessToken: String)
        case welcome(ref: UInt32)
        case submit(SendFrame)
        case schedule(SendFrame)
        case mark(Mark)
        case typing(ConversationID)
        case heads(token: String, ref: UInt32)
        case page(ConversationID, from: Seq, limit: Int, ref: UInt32)
        case pong(ref: UInt32)
        case refuse(ApusError, ref: UInt32)
        case close(CloseCode, String)
        case nothing
    }

    /// Undecodable frames that a session may send before it is taken for broken.
    private static let malformedMax = 16

    private var state = State.awaitingHello
    private var malformedCount = 0

    var identity: SessionIdentity? {
        if case .open(let identity) = state { return identity }
        return nil
    }

    var isClosed: Bool {
        if case .closed = state { return true }
        return false
    }

    mutating func received(_ frame: InboundClientFrame) -> Action {
        switch (state, frame) {
        case (.closed, _): return .nothing
        case (.open, .send(let send)): return send.deliverAt == nil ? .submit(send) : .schedule(send)
        case (.open(let identity), .other(let frame)): return request(frame, identity)
        case (.awaitingHello, .other(let frame)):
            guard case .hello(let hello) = frame.body else { return close(.outOfState, "the first frame is hello") }
            state = .admitting(ref: frame.ref)
            return .admit(accessToken: hello.accessToken)
        case (.awaitingHello, .send), (.admitting, _): return close(.outOfState, "nothing may follow hello before welcome")
        }
    }

    /// The bytes of a message were no frame.
    mutating func receivedMalformed(_ reason: String) -> Action {
        switch state {
        case .closed: return .nothing
        case .awaitingHello, .admitting: return close(.malformed, "not a frame of this protocol")
        case .open:
            malformedCount += 1
            if malformedCount > Self.malformedMax { return close(.tooManyErrors, "too many frames that are none") }
            return .refuse(ApusError(.malformed, "not a frame of this protocol: \(reason)"), ref: 0)
        }
    }

    mutating func admitted(_ result: Result<SessionIdentity, ApusError>) -> Action {
        guard case .admitting(let ref) = state else { return .nothing }
        switch result {
        case .success(let identity):
            state = .open(identity)
            return .welcome(ref: ref)
        case .failure(let error) where error.code.isRetryable: return close(.unavailable, error.message)
        case .failure(let error): return close(.tokenRefused, error.message)
        }
    }

    mutating func close(_ code: CloseCode, _ reason: String) -> Action {
        if isClosed { return .nothing }
        state = .closed
        return .close(code, reason)
    }

    private func request(_ frame: WireClientFrame, _ identity: SessionIdentity) -> Action {
        switch frame.body {
        case .hello: .refuse(ApusError(.outOfState, "this session said hello already"), ref: frame.ref)
        case .send(let send): .refuse(ApusError(.malformed, "send \(send.clientID) was not understood"), ref: frame.ref)
        case .read(let read):
            .mark(
                Mark(
                    conversation: ConversationID(read.conversation), account: identity.account, read: read.read, delivered: read.delivered))
        case .typing(let typing): .typing(ConversationID(typing.conversation))
        case .sync(let sync): .heads(token: sync.token, ref: frame.ref)
        case .pull(let pull):
            .page(ConversationID(pull.conversation), from: pull.from, limit: Int(pull.limit), ref: frame.ref)
        case .ping: .pong(ref: frame.ref)
        case nil: .refuse(ApusError(.unknownMessage, "this server does not know that message"), ref: frame.ref)
        }
    }
}
