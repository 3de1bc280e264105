import ApusProtocol

/// When to connect, greet, ping, give up a silent connection and try again. Pure: the client carries the actions out and says what
/// became of them. Times are durations since the client was made.
struct ConnectionStateMachine<Random: RandomNumberGenerator & Sendable>: Sendable {
    /// How the next connection is to be made.
    struct OpenRequest: Sendable, Equatable {
        /// Where a leaving node sent this client; nil: ask the server.
        var url: String?
        /// The server refused the access token: get a new one first.
        var refreshesToken = false
        /// The node of the last connection did not answer or leaves: the server, which may not know yet, is to name another one.
        var avoidsLastNode = false
    }

    enum Action: Sendable, Equatable {
        case hello
        /// The session is welcome: ask for heads, let the outbox go on.
        case start
        case ping
        /// Send nothing more; say ``drained(_:)`` when nothing is in flight.
        case drain
        /// Close the connection. What comes from it afterwards is of no interest.
        case disconnect
        case logout(LogoutReason)
    }

    private enum State: Equatable {
        case disconnected
        case failed(CloseCode)
        case waiting(since: Duration, until: Duration, OpenRequest)
        case opening(OpenRequest)
        case greeting(until: Duration, OpenRequest)
        case open(Session)
    }

    private struct Session: Equatable {
        var since: Duration
        var heartbeat: Duration
        var askedAt: Duration
        var heardAt: Duration
        var isSynced = false
        var leaving: Leaving?

        /// The server allows itself two and a half heartbeats; a connection that is silent for as long is dead.
        var deadAt: Duration { heardAt + heartbeat * 5 / 2 }
        var pingAt: Duration { askedAt + heartbeat }
    }

    /// The node asked to be left.
    private struct Leaving: Equatable {
        var until: Duration
        var reconnectAfter: Duration
        var url: String?
    }

    /// What a leaving node is given to answer what is in flight.
    static var drainTime: Duration { .seconds(3) }

    private let helloTimeout: Duration
    private var backoff: Backoff
    private var random: Random
    private var state = State.disconnected

    init(helloTimeout: Duration, backoff: Backoff.Policy, random: Random) {
        self.helloTimeout = helloTimeout
        self.backoff = Backoff(policy: backoff)
        self.random = random
    }

    var connectionState: ConnectionState {
        switch state {
        case .disconnected: .disconnected
        case .failed(let code): .failed(code)
        case .waiting(let since, let until, _): .waiting(until - since)
        case .opening, .greeting: .connecting
        case .open(let session): session.isSynced ? .online : .syncing
        }
    }

    var isWelcome: Bool {
        if case .open = state { return true }
        return false
    }

    var isLeaving: Bool {
        if case .open(let session) = state { return session.leaving != nil }
        return false
    }

    /// When ``tick(_:)`` has something to do.
    var deadline: Duration? {
        switch state {
        case .disconnected, .failed, .opening: nil
        case .waiting(_, let until, _): until
        case .greeting(let until, _): until
        case .open(let session): min(session.pingAt, session.deadAt, session.leaving?.until ?? session.deadAt)
        }
    }

    /// Not nil: a connection is to be opened like this; then say ``opened(_:)`` or ``openFailed(_:)``.
    var openRequest: OpenRequest? {
        if case .opening(let request) = state { return request }
        return nil
    }

    var isWaiting: Bool {
        if case .waiting = state { return true }
        return false
    }

    /// Connects, or tries again at once.
    mutating func connect() {
        switch state {
        case .disconnected, .failed: state = .opening(OpenRequest())
        case .waiting(_, _, let request): state = .opening(request)
        case .opening, .greeting, .open: break
        }
    }

    mutating func opened(_ now: Duration) -> [Action] {
        guard case .opening(let request) = state else { return [.disconnect] }
        state = .greeting(until: now + helloTimeout, request)
        return [.hello]
    }

    mutating func openFailed(_ now: Duration) {
        guard case .opening(let request) = state else { return }
        // A node that cannot be reached may be gone: the server knows which one is not.
        retry(OpenRequest(refreshesToken: request.refreshesToken, avoidsLastNode: true), now)
    }

    /// The server does not accept this client's refresh token.
    mutating func loginVoid(_ reason: LogoutReason) -> [Action] {
        state = .disconnected
        return [.disconnect, .logout(reason)]
    }

    mutating func welcomed(heartbeat: Duration, _ now: Duration) -> [Action] {
        guard case .greeting = state else { return [] }
        // A heartbeat of nothing would be a ping in every turn of the loop.
        state = .open(Session(since: now, heartbeat: max(heartbeat, .milliseconds(20)), askedAt: now, heardAt: now))
        return [.start]
    }

    mutating func synced() {
        updateSession { $0.isSynced = true }
    }

    /// Something was sent that the server answers. What it does not answer says nothing about whether it is still there.
    mutating func asked(_ now: Duration) {
        updateSession { $0.askedAt = now }
    }

    mutating func heard(_ now: Duration) {
        updateSession { $0.heardAt = now }
    }

    mutating func goaway(reconnectAfter: Duration, url: String?, _ now: Duration) -> [Action] {
        guard case .open(var session) = state, session.leaving == nil else { return [] }
        session.leaving = Leaving(until: now + Self.drainTime, reconnectAfter: reconnectAfter, url: url)
        state = .open(session)
        return [.drain]
    }

    /// Nothing is in flight on a connection that is to be left.
    mutating func drained(_ now: Duration) -> [Action] {
        guard case .open(let session) = state, let leaving = session.leaving else { return [] }
        leave(leaving, now)
        return [.disconnect]
    }

    mutating func tick(_ now: Duration) -> [Action] {
        switch state {
        case .waiting(_, let until, let request) where until <= now:
            state = .opening(request)
            return []
        case .greeting(let until, let request) where until <= now:
            retry(OpenRequest(refreshesToken: request.refreshesToken, avoidsLastNode: true), now)
            return [.disconnect]
        case .open(let session):
            if let leaving = session.leaving, leaving.until <= now {
                leave(leaving, now)
                return [.disconnect]
            }
            if session.deadAt <= now { return abandon(now) }
            return session.pingAt <= now ? [.ping] : []
        default: return []
        }
    }

    /// The connection is of no more use: the server does not answer, or says what it must not, or the local store failed.
    mutating func abandon(_ now: Duration) -> [Action] {
        switch state {
        case .open(let session):
            backoff.connectionLasted(now - session.since)
            retry(OpenRequest(avoidsLastNode: true), now)
        case .greeting(_, let request): retry(OpenRequest(refreshesToken: request.refreshesToken, avoidsLastNode: true), now)
        default: return []
        }
        return [.disconnect]
    }

    /// The connection is over. Nil: it broke without a word.
    mutating func lost(_ code: CloseCode?, _ now: Duration) -> [Action] {
        let wasRefreshed: Bool
        switch state {
        case .greeting(_, let request): wasRefreshed = request.refreshesToken
        case .open(let session):
            wasRefreshed = false
            backoff.connectionLasted(now - session.since)
            if let leaving = session.leaving, code?.advice != .login {
                leave(leaving, now)
                return [.disconnect]
            }
        default: return []
        }
        switch code?.advice {
        case .login where code != .tokenRefused: return loginVoid(.deviceRevoked)
        // An access token ends before its time when keys change; a new one tells whether the login is void.
        case .login where wasRefreshed: return loginVoid(.tokenRefused)
        case .login: retry(OpenRequest(refreshesToken: true), now)
        case .giveUp: state = .failed(code ?? .protocolError)
        case .reconnect, .resync: retry(OpenRequest(), now)
        case nil: retry(OpenRequest(avoidsLastNode: true), now)
        }
        return [.disconnect]
    }

    mutating func close() -> [Action] {
        defer { state = .disconnected }
        switch state {
        case .greeting, .open: return [.disconnect]
        case .disconnected, .failed, .waiting, .opening: return []
        }
    }

    private mutating func retry(_ request: OpenRequest, _ now: Duration) {
        state = .waiting(since: now, until: now + backoff.next(using: &random), request)
    }

    private mutating func leave(_ leaving: Leaving, _ now: Duration) {
        state = .waiting(since: now, until: now + leaving.reconnectAfter, OpenRequest(url: leaving.url, avoidsLastNode: true))
    }

    private mutating func updateSession(_ body: (inout Session) -> Void) {
        guard case .open(var session) = state else { return }
        body(&session)
        state = .open(session)
    }
}
