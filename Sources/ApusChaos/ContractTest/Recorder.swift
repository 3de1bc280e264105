import ApusClient
import ApusProtocol

/// Writes down what the clients of a run did and saw.
actor Recorder {
    private var sends: [History.Send] = []
    private var sights: [Stream: [History.Sight]] = [:]
    private var last: [Stream: Seq] = [:]
    private(set) var acknowledged = 0
    /// Clients that were too slow to be told everything: their record is no evidence.
    private(set) var incomplete: Set<String> = []
    private(set) var welcomes = 0

    /// Things that were done to the servers and repaired.
    private(set) var faults = 0
    private(set) var timings = Timings()
    private(set) var failedCalls: [String: Int] = [:]

    private struct Waiter {
        var condition: @Sendable (isolated Recorder) -> Bool
        var continuation: CheckedContinuation<Void, any Error>
    }

    private var waiters: [Int: Waiter] = [:]
    private var waiterCount = 0

    struct Stream: Hashable {
        var reader: String
        var conversation: ConversationID
    }

    // MARK: Recording

    /// Called in the order of the session's sends.
    /// - Returns: what to pass to ``answered(_:_:)``.
    func sent(
        _ session: String, _ name: History.EntryName, _ content: History.Content, at now: ContinuousClock.Instant
    ) -> Int {
        timings.sent(Self.key(name, content), at: now)
        sends.append(History.Send(session: session, name: name, content: content, outcome: .unknown))
        return sends.count - 1
    }

    func answered(_ send: Int, _ outcome: History.Outcome) {
        sends[send].outcome = outcome
        if outcome.isAcknowledged {
            acknowledged += 1
            timings.acknowledged(Self.key(sends[send].name, sends[send].content), at: .now)
        }
        changed()
    }

    private static func key(_ name: History.EntryName, _ content: History.Content) -> History.ContentKey {
        History.ContentKey(conversation: name.conversation, sender: name.sender, content: content)
    }

    func beganFault() { timings.faultBegins(at: .now) }

    func endedFault() {
        timings.faultEnds(at: .now)
        faults += 1
        changed()
    }

    func saw(_ event: ClientEvent, reader: String) {
        switch event {
        case .entry(let entry):
            let stream = Stream(reader: reader, conversation: entry.conversation)
            let content = History.Content(kind: entry.kind, body: entry.body)
            timings.saw(
                History.ContentKey(conversation: entry.conversation, sender: entry.sender, content: content), reader: reader,
                seq: entry.seq, at: .now)
            sights[stream, default: []].append(.entry(entry))
            last[stream] = entry.seq
            changed()
        case .reset(let conversation, let first):
            sights[Stream(reader: reader, conversation: conversation), default: []].append(.reset(first: first))
        case .missedEvents: incomplete.insert(reader)
        case .connection(.online): welcomes += 1
        default: break
        }
    }

    func callFailed(_ error: ApusError) { failedCalls["\(error.code.rawValue): \(error.message)", default: 0] += 1 }

    /// What comes from here on is not measured.
    func endTimings() { timings.end() }

    // MARK: Asking

    /// Whether there is enough of it.
    func isOver(_ options: ContractTest.Options) -> Bool {
        options.messagesPerSecond == nil ? acknowledged >= options.messages : faults >= options.faults
    }

    func lastSeen(by reader: String, in conversation: ConversationID) -> Seq {
        last[Stream(reader: reader, conversation: conversation)] ?? 0
    }

    /// Waits until `condition` holds.
    func wait(until condition: @escaping @Sendable (isolated Recorder) -> Bool) async throws {
        if condition(self) { return }
        waiterCount += 1
        let id = waiterCount
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                if Task.isCancelled {
                    continuation.resume(throwing: CancellationError())
                } else {
                    waiters[id] = Waiter(condition: condition, continuation: continuation)
                }
            }
        } onCancel: {
            Task { await self.giveUp(id) }
        }
    }

    private func giveUp(_ id: Int) {
        waiters.removeValue(forKey: id)?.continuation.resume(throwing: CancellationError())
    }

    private func changed() {
        for (id, waiter) in waiters where waiter.condition(self) {
            waiters[id] = nil
            waiter.continuation.resume()
        }
    }

    /// - Parameter accounts: of the readers; each of them is held to have seen all that its account may see.
    func history(
        logs: [ConversationID: [Entry]], visibility: [ConversationID: [AccountID: [ClosedRange<Seq>]]], accounts: [String: AccountID]
    ) -> History {
        var history = History(sends: sends, logs: logs, visibility: visibility)
        for conversation in logs.keys.sorted() {
            for (reader, account) in accounts.sorted(by: { $0.key < $1.key }) {
                let seen = sights[Stream(reader: reader, conversation: conversation)] ?? []
                history.observations.append(
                    History.Observation(reader: reader, account: account, conversation: conversation, sights: seen))
            }
        }
        return history
    }
}
