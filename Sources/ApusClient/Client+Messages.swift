import ApusProtocol
import Foundation
import NIOCore

// MARK: Sending

extension Client {
    /// Bytes of bodies in the outbox; a send past that is refused with `overloaded`.
    static var outboxBytesMax: Int { 64 << 20 }
    private static var typingInterval: Duration { .seconds(3) }

    /// Puts a message into the outbox and returns when the server has made it durable. It survives the loss of the connection and,
    /// with storage in a directory, the end of the process.
    /// - Parameters:
    ///   - clientID: names this message for ever; sending the same again yields the same acknowledgement.
    ///   - deliverAt: the server keeps the message until then.
    /// - Throws: as ``enqueue(_:to:kind:clientID:deliverAt:)`` and ``PendingSend/acknowledgement()``.
    @discardableResult
    public func send(
        _ body: String, to conversation: ConversationID, kind: EntryKind = .text, clientID: String = ClientEntryID.next(),
        deliverAt: Date? = nil
    ) async throws -> AckFrame {
        try await enqueue(body, to: conversation, kind: kind, clientID: clientID, deliverAt: deliverAt).acknowledgement()
    }

    /// Puts a message into the outbox, where it survives the end of the process. Messages of one conversation go out in the order in which
    /// `enqueue` returned, several at a time.
    /// - Throws: ``ApusError`` `invalid_argument` for an empty message or a bad `clientID`, `overloaded` when the outbox is full,
    ///   `conflict` when another message with this `clientID` waits in it, `local_store`, `not_logged_in`. Whatever the server says comes from
    ///   ``PendingSend/acknowledgement()``.
    public func enqueue(
        _ body: String, to conversation: ConversationID, kind: EntryKind = .text, clientID: String = ClientEntryID.next(),
        deliverAt: Date? = nil
    ) async throws -> PendingSend {
        try checkOpen()
        guard login != nil else { throw ApusError(.notLoggedIn, "nobody is logged in") }
        guard !body.isEmpty else { throw ApusError(.invalidArgument, "the message is empty") }
        guard (1...64).contains(clientID.utf8.count) else { throw ApusError(.invalidArgument, "a client id has 1 to 64 bytes") }
        guard outbox.count < configuration.outboxMax, outbox.bytes + body.utf8.count <= Self.outboxBytesMax else {
            throw ApusError(.overloaded, "the outbox is full")
        }
        let frame = SendFrame(
            conversation: conversation, clientID: clientID, kind: kind, body: body,
            deliverAt: deliverAt.map { Timestamp(milliseconds: Int64($0.timeIntervalSince1970 * 1000)) })
        let name = MessageName(conversation: conversation, clientID: clientID)
        // What an earlier client left behind was written earlier and goes out earlier.
        if !hasAdopted { try await adoptOutbox() }
        var appended = try await store.append(frame, owner: owner.name)
        if case .present = appended, outbox.item(conversation, clientID) == nil {
            // Its answer came while this call waited for the store. A second try yields the same answer.
            appended = try await store.append(frame, owner: owner.name)
        }
        if case .added(let item) = appended { outbox.add(item) }
        let outcome = outcome(of: name)
        if isClosed { outcome.complete(.failure(ApusError(.clientClosed, "the client was closed"))) }
        await pump()
        rearm()
        return PendingSend(conversation: conversation, clientID: clientID, outcome: outcome)
    }

    /// What waits in the outbox of this client, in order; with what ended clients of the directory left, if this one adopts it.
    public func pendingSends() async throws -> [PendingSend] {
        try checkOpen()
        try await adoptOutbox()
        return outbox.items.map { item in
            let name = MessageName(conversation: item.conversation, clientID: item.clientID)
            return PendingSend(conversation: item.conversation, clientID: item.clientID, outcome: outcome(of: name))
        }
    }

    private func outcome(of name: MessageName) -> SendOutcome {
        if let outcome = outcomes[name] { return outcome }
        let outcome = SendOutcome()
        outcomes[name] = outcome
        return outcome
    }

    func adoptOutbox() async throws {
        guard configuration.adoptsOutbox else { return }
        hasAdopted = true
        let room = max(0, configuration.outboxMax - outbox.count)
        for item in try await store.adopt(into: owner, limit: room) { outbox.add(item) }
    }

    /// Sends what the outbox has and the server takes.
    func pump() async {
        guard machine.isWelcome, !machine.isLeaving, let link, let limits else { return }
        var frames: [ByteBuffer] = []
        var refused = Outcome()
        if outbox.inFlight == 0 { progressAt = now }
        while let item = outbox.next(inFlightMax: limits.inFlightMax) {
            var frame = item.frame
            frame.ref = nextRef()
            var buffer = ByteBuffer()
            link.encoding.encode(frame, into: &buffer)
            if buffer.readableBytes <= limits.frameBytesMax, item.body.utf8.count <= limits.bodyBytesMax {
                frames.append(buffer)
            } else if let item = outbox.finished(item.conversation, item.clientID) {
                // The server would close the connection for it, again and again.
                refuse(item, ApusError(.tooLarge, "the message is longer than the server takes"), &refused)
            }
        }
        if !frames.isEmpty {
            link.send(frames)
            machine.asked(now)
        }
        if !refused.finished.isEmpty { await settle(refused) }
    }

    // MARK: Marks

    /// Moves this account's read mark forward, here at once and on the server as soon as there is a connection.
    public func markRead(_ conversation: ConversationID, through seq: Seq) async throws {
        try checkOpen()
        try await store.markRead(conversation, through: seq)
        marks.read(conversation, through: seq, now)
        flushMarks()
        rearm()
    }

    /// Tells the others that the user is typing. Sent at most every three seconds per conversation, and only when connected.
    public func typing(in conversation: ConversationID) {
        guard machine.isWelcome else { return }
        let now = now
        if let last = typedAt[conversation], last + Self.typingInterval > now { return }
        typedAt = typedAt.filter { $0.value + Self.typingInterval > now }
        typedAt[conversation] = now
        var typing = WireTyping()
        typing.conversation = conversation.rawValue
        write([WireClientFrame(.typing(typing))])
    }

    func flushMarks() {
        guard machine.isWelcome, !machine.isLeaving else { return }
        // The ref that the next request will have: its answer says that what was sent before it has arrived.
        let next = lastRef == .max ? 1 : lastRef + 1
        write(
            marks.take(now, ref: next).map { conversation, mark in
                var read = WireRead()
                read.conversation = conversation.rawValue
                read.read = mark.read
                read.delivered = mark.delivered
                return WireClientFrame(.read(read))
            })
    }
}

// MARK: Reading

extension Client {
    /// A page of the log from the server, of what this account may see. `from` past the head, or before what the server still has, sets
    /// `reset` of the page.
    public func history(of conversation: ConversationID, from: Seq, limit: Int = 100) async throws -> EntryPage {
        try await call(
            .get("\(HTTPPath.conversations)/\(conversation)/entries", [("from", "\(from)"), ("limit", "\(limit)")]))
    }

    /// Entries of the local store in ascending order: the first `limit` from `from` on.
    public func localHistory(of conversation: ConversationID, from: Seq = 1, limit: Int = 100) async throws -> [Entry] {
        try await store.entries(of: conversation, from: from, limit: limit)
    }

    /// The last `limit` entries of the local store before `before`, in ascending order.
    public func localHistory(of conversation: ConversationID, before: Seq, limit: Int = 100) async throws -> [Entry] {
        try await store.entries(of: conversation, before: before, limit: limit)
    }

    /// Text messages of the local store that contain `keyword` (ASCII case ignored), newest first.
    public func search(_ keyword: String, in conversation: ConversationID? = nil, limit: Int = 50) async throws -> [Entry] {
        try await store.search(keyword, in: conversation, limit: limit)
    }

    /// Every conversation that the local store knows, by id.
    public func localConversations() async throws -> [LocalConversation] {
        try await store.conversations(nil, of: login?.account)
    }

    public func localConversation(_ id: ConversationID) async throws -> LocalConversation? {
        try await store.conversations(id, of: login?.account).first
    }

    /// How far the others are, as far as this client was told.
    public func marks(of conversation: ConversationID) async throws -> [ReadMarks] {
        try await store.marks(of: conversation)
    }
}
