import ApusProtocol
import Foundation
import NIOCore

/// The task of a connected client: opens connections, lets frames and time pass, waits between attempts. All decisions are the
/// ``ConnectionStateMachine``'s.
extension Client {
    /// Ends when the client is disconnected for good: closed, logged out, or refused by the server.
    func drive() async {
        // Between the last look at the machine and this there is no suspension: a later `connect` starts a new task.
        defer { driver = nil }
        do {
            try await prepare()
        } catch {
            // Whoever closes a client while it starts is no error of the store.
            if !Task.isCancelled { configuration.logger.error("the local store cannot be read", metadata: ["error": "\(error)"]) }
            apply(machine.close())
            return
        }
        while !Task.isCancelled {
            if let request = machine.openRequest {
                await attempt(request)
            } else if machine.isWaiting {
                await waitForRetry()
            } else {
                break
            }
        }
        alarm.cancel()
    }

    /// Reads from the local store where this account stands, once.
    private func prepare() async throws {
        // Another client of the directory may have logged in since.
        let stored = try logins.load()?.info
        if stored?.account != login?.account { isPrepared = false }
        login = stored
        guard !isPrepared, let login else { return }
        _ = try await store.claim(for: login.account)
        inbox = Inbox(readers: try await store.readers(), backfill: configuration.backfill)
        syncToken = try await store.syncToken()
        isPrepared = true
    }

    private func waitForRetry() async {
        let alarm = replaceAlarm()
        for await _ in alarm.signals {
            apply(machine.tick(now))
            guard machine.isWaiting else { break }
            rearm()
        }
        alarm.cancel()
    }

    // MARK: One connection

    private func attempt(_ request: Machine.OpenRequest) async {
        let link: Link
        do {
            link = try await open(request)
        } catch {
            configuration.logger.info("no connection", metadata: ["error": "\(error)"])
            // The client may have been closed, or logged out, while it tried.
            guard machine.openRequest != nil, !Task.isCancelled else { return }
            switch (error as? ApusError)?.code {
            case .loginEnded, .unauthenticated: apply(machine.loginVoid(.tokenRefused))
            case .notLoggedIn: apply(machine.loginVoid(.notLoggedIn))
            default: machine.openFailed(now)
            }
            announce()
            return
        }
        await converse(over: link)
    }

    private func open(_ request: Machine.OpenRequest) async throws -> Link {
        let token = try await tokens.accessToken(rejected: request.refreshesToken ? tokenInUse : nil)
        let node: SocketNode
        if let url = request.url {
            node = SocketNode(url: url, tcp: url)
            tokenInUse = token
        } else {
            var question = APIClient.Request.get(HTTPPath.socketNode)
            if request.avoidsLastNode, let lastNode { question.query = [(HTTPPath.avoidedNode, lastNode)] }
            (node, tokenInUse) = try await tokens.authorized { [api, question] token in
                (try await api.call(question, token: token, as: SocketNode.self), token)
            }
        }
        lastNode = node.url
        return try await dialer.open(
            ServerAddress(node, transport: configuration.transport, server: configuration.server))
    }

    private func converse(over link: Link) async {
        let alarm = replaceAlarm()
        self.link = link
        apply(machine.opened(now))
        rearm()
        do {
            try await link.run { inbound in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await self.receive(inbound) }
                    group.addTask { await self.keepTime(alarm) }
                    defer { group.cancelAll() }
                    try await group.next()
                }
            }
        } catch {
            configuration.logger.info("connection lost", metadata: ["error": "\(error)"])
        }
        alarm.cancel()
        apply(machine.lost(nil, now))
        connectionEnded()
    }

    private func receive(_ inbound: NIOAsyncChannelInboundStream<Link.Batch>) async throws {
        for try await batch in inbound { await handle(batch) }
    }

    private func keepTime(_ alarm: Alarm) async {
        for await _ in alarm.signals { await tick() }
    }

    private func connectionEnded() {
        link = nil
        limits = nil
        requests = [:]
        pausedPulls = [:]
        inbox.disconnected()
        outbox.disconnected()
        marks.disconnected(now)
    }

    // MARK: Actions

    func apply(_ actions: [Machine.Action]) {
        for action in actions {
            switch action {
            case .hello:
                var hello = WireHello()
                hello.accessToken = tokenInUse ?? ""
                hello.client = configuration.clientVersion
                request(.hello(hello))
            // `handle` sees it in the machine's state and starts the session, which takes the local store.
            case .start: break
            case .ping: request(.ping(WirePing()))
            case .drain: leaveIfDrained()
            case .disconnect:
                link?.close()
                link = nil
            case .logout(let reason): loggedOut(reason)
            }
        }
        announce()
    }

    func announce() {
        let state = machine.connectionState
        guard state != announced else { return }
        announced = state
        hub.emit(.connection(state))
    }

    /// A node that is to be left is left when everything that was sent is answered.
    func leaveIfDrained() {
        if machine.isLeaving, outbox.inFlight == 0 { apply(machine.drained(now)) }
    }

    // MARK: Time

    private func tick() async {
        let now = now
        apply(machine.tick(now))
        guard machine.isWelcome else { return rearm() }
        if requests.values.contains(where: { $0.deadline <= now }) {
            configuration.logger.info("no answer in time; connecting anew")
            return apply(machine.abandon(now))
        }
        if outbox.inFlight > 0, progressAt + configuration.acknowledgementTimeout <= now {
            configuration.logger.info("no acknowledgement in time; connecting anew")
            return apply(machine.abandon(now))
        }
        outbox.tick(now)
        for (conversation, until) in pausedPulls where until <= now {
            pausedPulls[conversation] = nil
            sendPulls(inbox.resume(conversation))
        }
        flushMarks()
        await pump()
        rearm()
    }

    /// Sets the alarm for whatever is due next.
    func rearm() {
        var deadlines = [machine.deadline]
        if machine.isWelcome {
            deadlines += [requests.values.map(\.deadline).min(), pausedPulls.values.min(), outbox.deadline, marks.deadline]
            if outbox.inFlight > 0 { deadlines.append(progressAt + configuration.acknowledgementTimeout) }
        }
        if let next = deadlines.compactMap(\.self).min() { alarm.set(after: next - now) }
    }

    /// Each phase has an alarm of its own: a cancelled wait ends the stream of the old one.
    private func replaceAlarm() -> Alarm {
        alarm.cancel()
        alarm = Alarm(eventLoop: dialer.group.next())
        rearm()
        return alarm
    }

    // MARK: Writing

    /// Sends a frame that the server answers; returns its ref.
    @discardableResult
    func request(_ body: WireClientFrame.OneOf_Body) -> UInt32 {
        let ref = nextRef()
        write([WireClientFrame(ref: ref, body)])
        machine.asked(now)
        return ref
    }

    func write(_ frames: [WireClientFrame]) {
        guard let link, !frames.isEmpty else { return }
        do {
            link.send(
                try frames.map { frame in
                    var buffer = ByteBuffer()
                    try link.encoding.encode(frame, into: &buffer)
                    return buffer
                })
        } catch {
            // A frame of this client's own making: only a string that is no Unicode could do this, and Swift has none.
            configuration.logger.error("frame not encoded", metadata: ["error": "\(error)"])
        }
    }

    func nextRef() -> UInt32 {
        lastRef = lastRef == .max ? 1 : lastRef + 1
        return lastRef
    }
}
