import ApusProtocol

/// What the client does with the server's frames. The frames of one read become one transaction of the local store, and their
/// events are emitted after it.
extension Client {
    /// What a batch of frames comes to.
    struct Outcome {
        var changes: [LocalStore.Change] = []
        var events: [ClientEvent] = []
        var answers: [(MessageName, Result<AckFrame, ApusError>)] = []
        /// To be taken back when the local store fails.
        var delivered: [Inbox.Action] = []
        var finished: [OutboxItem] = []
    }

    func handle(_ batch: Link.Batch) async {
        // After the machine dropped the connection the rest of what it brought is of no interest: the next one brings it again.
        guard link != nil else { return }
        let wasWelcome = machine.isWelcome
        machine.heard(now)
        var outcome = Outcome()
        for frame in batch where link != nil { receive(frame, &outcome) }
        guard await commit(outcome) else { return }
        if !wasWelcome, machine.isWelcome { await startSession() }
        flushMarks()
        await pump()
        leaveIfDrained()
        announce()
        rearm()
    }

    /// Stores and then tells. False when the local store failed: as if the batch had never come, and the next connection brings it again.
    private func commit(_ outcome: Outcome) async -> Bool {
        if !outcome.changes.isEmpty {
            do {
                try await store.commit(outcome.changes)
            } catch {
                report(error)
                inbox.undo(outcome.delivered)
                for item in outcome.finished { outbox.add(item) }
                apply(machine.abandon(now))
                return false
            }
        }
        for event in outcome.events { hub.emit(event) }
        for (name, result) in outcome.answers {
            outcomes.removeValue(forKey: name)?.complete(result.mapError { $0 })
        }
        return true
    }

    /// A client that closes cancels what its store was doing, which is no failure.
    private func report(_ storeFailure: any Error) {
        guard !Task.isCancelled else { return }
        configuration.logger.error("the local store failed; connecting anew", metadata: ["error": "\(storeFailure)"])
    }

    /// For an outcome that no frame brought.
    func settle(_ outcome: Outcome) async { _ = await commit(outcome) }

    private func startSession() async {
        do {
            for (conversation, seq) in try await store.unconfirmedReads() { marks.read(conversation, through: seq, now) }
            try await adoptOutbox()
        } catch {
            report(error)
            apply(machine.abandon(now))
        }
    }

    // MARK: Frames

    private func receive(_ frame: InboundServerFrame, _ outcome: inout Outcome) {
        switch frame {
        case .entry(let entry): read(inbox.received(entry), &outcome)
        case .ack(let ack): received(ack, &outcome)
        case .other(let frame):
            if frame.ref > 0 { confirmMarks(through: frame.ref, &outcome) }
            receive(frame, &outcome)
        }
    }

    private func receive(_ frame: WireServerFrame, _ outcome: inout Outcome) {
        switch frame.body {
        case .welcome(let welcome): received(welcome)
        case .ack(let ack): received(AckFrame(ack, ref: frame.ref), &outcome)
        case .entry(let entry): read(inbox.received(Entry(entry)), &outcome)
        case .head(let head): received(head, &outcome)
        case .heads(let heads): received(heads, ref: frame.ref, &outcome)
        case .page(let page):
            guard let conversation = takePull(frame.ref) else { return }
            let entries = page.entries.map(Entry.init).filter { $0.conversation == conversation }
            read(inbox.received(page: entries, of: conversation, through: page.through, head: page.head), &outcome)
        case .reset(let reset):
            let asked = takePull(frame.ref)
            let conversation = asked ?? ConversationID(reset.conversation)
            read(inbox.reset(conversation, first: reset.first, head: reset.head, answersPull: asked != nil), &outcome)
        case .read(let read):
            let marks = ReadMarks(
                conversation: ConversationID(read.conversation), account: AccountID(read.account), read: read.read,
                delivered: read.delivered)
            outcome.changes.append(.marks(marks))
            if marks.account == login?.account { outcome.changes.append(.readConfirmed(marks.conversation, through: marks.read)) }
            outcome.events.append(.marks(marks))
        case .typing(let typing):
            outcome.events.append(.typing(conversation: ConversationID(typing.conversation), account: AccountID(typing.account)))
        case .error(let error): received(error, ref: frame.ref, &outcome)
        case .goaway(let goaway):
            apply(
                machine.goaway(
                    reconnectAfter: .milliseconds(Int64(goaway.reconnectAfterMs)), url: goaway.url.isEmpty ? nil : goaway.url, now))
        case .close(let close): apply(machine.lost(CloseCode(rawValue: UInt16(clamping: close.code)), now))
        case .pong, nil: break
        }
    }

    private func received(_ welcome: WireWelcome) {
        limits = ServerLimits(welcome)
        progressAt = now
        guard machine.welcomed(heartbeat: .milliseconds(Int64(welcome.heartbeatMs)), now) == [.start] else { return }
        announce()
        sync()
        sendPulls(inbox.connected())
    }

    private func received(_ head: WireHead, _ outcome: inout Outcome) {
        let conversation = ConversationID(head.conversation)
        outcome.changes.append(.head(conversation, seq: head.seq, read: head.read))
        read(inbox.headMoved(conversation, to: head.seq), &outcome)
    }

    private func received(_ heads: WireHeads, ref: UInt32, _ outcome: inout Outcome) {
        guard case .sync = requests.removeValue(forKey: ref)?.kind else { return }
        for head in heads.heads { received(head, &outcome) }
        // With the heads of this answer in the same transaction: nothing that the token has seen can be forgotten.
        syncToken = heads.token
        outcome.changes.append(.syncToken(heads.token))
        if heads.more { sync() } else { machine.synced() }
    }

    private func received(_ ack: AckFrame, _ outcome: inout Outcome) {
        if ack.ref > 0 { confirmMarks(through: ack.ref, &outcome) }
        progressAt = now
        guard let account = login?.account, let item = outbox.finished(ack.conversation, ack.clientID) else {
            // Answered already, on an earlier connection. Its entry comes by a pull if it has not come yet.
            if ack.seq > 0 { read(inbox.headMoved(ack.conversation, to: ack.seq), &outcome) }
            return
        }
        outcome.finished.append(item)
        outcome.changes.append(.sent(ack.conversation, clientID: ack.clientID))
        outcome.answers.append((MessageName(conversation: ack.conversation, clientID: ack.clientID), .success(ack)))
        outcome.events.append(.acknowledged(ack))
        // On the session that sent it the ack stands for the entry. Without a seq it is scheduled and has no entry yet.
        guard ack.seq > 0 else { return }
        let entry = Entry(
            conversation: ack.conversation, seq: ack.seq, id: ack.id, sender: account, at: ack.at, kind: item.kind, body: item.body)
        read(inbox.received(entry), &outcome)
    }

    private func received(_ wire: WireError, ref: UInt32, _ outcome: inout Outcome) {
        let error = ApusError(
            ErrorCode(rawValue: wire.code), wire.message, retryAfterMilliseconds: wire.retryAfterMs == 0 ? nil : wire.retryAfterMs)
        let retryAt = now + (error.retryAfterMilliseconds.map { .milliseconds(Int64($0)) } ?? Outbox.retryDelay)
        if !wire.clientID.isEmpty {
            progressAt = now
            let conversation = ConversationID(wire.conversation)
            if wire.retryable {
                outbox.refused(conversation, wire.clientID, until: retryAt)
            } else if let item = outbox.finished(conversation, wire.clientID) {
                refuse(item, error, &outcome)
            }
            return
        }
        switch requests.removeValue(forKey: ref)?.kind {
        case .pull(let conversation):
            sendPulls(inbox.pullRefused(conversation, forGood: !wire.retryable))
            if wire.retryable { pausedPulls[conversation] = retryAt }
        case .sync:
            // Without heads this client does not know what it missed. A void token does not heal by itself: start over.
            if !wire.retryable { syncToken = "" }
            apply(machine.abandon(now))
        case nil:
            configuration.logger.info("the server refused a frame", metadata: ["code": "\(wire.code)", "message": "\(wire.message)"])
        }
    }

    /// A message leaves the outbox without having been sent.
    func refuse(_ item: OutboxItem, _ error: ApusError, _ outcome: inout Outcome) {
        outcome.finished.append(item)
        outcome.changes.append(.sent(item.conversation, clientID: item.clientID))
        outcome.answers.append((MessageName(conversation: item.conversation, clientID: item.clientID), .failure(error)))
        outcome.events.append(.sendFailed(conversation: item.conversation, clientID: item.clientID, error: error))
    }

    // MARK: Reading

    private func read(_ actions: [Inbox.Action], _ outcome: inout Outcome) {
        outcome.delivered += actions
        for action in actions {
            switch action {
            case .deliver(let conversation, let after, let through, let entries):
                outcome.changes.append(.deliver(conversation, after: after, through: through, entries: entries))
                outcome.events += entries.map(ClientEvent.entry)
                if entries.contains(where: { $0.sender != login?.account }) { marks.delivered(conversation, through: through, now) }
            case .restart(let conversation, let first, _):
                outcome.changes.append(.restart(conversation, first: first))
                outcome.events.append(.reset(conversation: conversation, first: first))
            case .pull: sendPulls([action])
            }
        }
    }

    func sendPulls(_ actions: [Inbox.Action]) {
        for case .pull(let conversation, let from) in actions {
            var pull = WirePull()
            pull.conversation = conversation.rawValue
            pull.from = from
            let ref = request(.pull(pull))
            requests[ref] = Request(kind: .pull(conversation), deadline: now + configuration.requestTimeout)
        }
    }

    private func sync() {
        var sync = WireSync()
        sync.token = syncToken
        let ref = request(.sync(sync))
        requests[ref] = Request(kind: .sync, deadline: now + configuration.requestTimeout)
    }

    /// The conversation whose pull this answers.
    private func takePull(_ ref: UInt32) -> ConversationID? {
        guard case .pull(let conversation) = requests[ref]?.kind else { return nil }
        requests[ref] = nil
        return conversation
    }

    private func confirmMarks(through ref: UInt32, _ outcome: inout Outcome) {
        for (conversation, seq) in marks.answered(ref) { outcome.changes.append(.readConfirmed(conversation, through: seq)) }
    }
}
