import ApusProtocol
import Dispatch
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// An entry on its way into the log; id and time are given when it is committed.
public struct EntryDraft: Sendable {
    public var conversation: ConversationID
    public var sender: AccountID
    public var clientID: String
    public var kind: EntryKind
    public var body: String
    public var change: ConversationChange?
    /// Nil: the sequencer takes the next one. A scheduled message brings the id that its acknowledgement promised.
    public var id: EntryID?

    public init(
        conversation: ConversationID, sender: AccountID, clientID: String, kind: EntryKind, body: String, change: ConversationChange? = nil,
        id: EntryID? = nil
    ) {
        self.conversation = conversation
        self.sender = sender
        self.clientID = clientID
        self.kind = kind
        self.body = body
        self.change = change
        self.id = id
    }
}

/// The promise that an entry is durable.
public struct AppendReceipt: Sendable, Hashable {
    public var id: EntryID
    public var seq: Seq
    public var at: Timestamp
    public var isDuplicate: Bool
}

/// Collects what arrives while the previous transaction commits, and commits it as one (group commit): under load many
/// entries share one sync to disk, without load one entry waits for nobody.
///
/// Order: drafts are appended in the order of their submission. When a commit fails, what a session had sent to a
/// conversation after the first failed entry fails as well, until that entry is sent again: a retry never overtakes (C4).
public final class Sequencer: Sendable {
    public struct Limits: Sendable {
        /// Entries in one transaction.
        public var batchMax: Int
        /// Entries that may wait.
        public var queueMax: Int

        public init(batchMax: Int = 1024, queueMax: Int = 65_536) {
            self.batchMax = batchMax
            self.queueMax = queueMax
        }
    }

    enum Waiter: Sendable {
        case session(SessionAddress, ref: UInt32)
        case call(CheckedContinuation<AppendReceipt, any Error>)
        case nobody
    }

    private struct Pending: Sendable {
        var draft: EntryDraft
        var waiter: Waiter
    }

    private struct State {
        var pending: [Pending] = []
        var isDraining = false
        var isClosed = false
    }

    private let log: any EntryLog
    private let handover: any Handover
    private let ids: IDGenerator
    private let clock: any WallClock
    private let limits: Limits
    private let logger: Logger
    private let state = NIOLockedValueBox(State())
    /// The log blocks, and takes one call at a time.
    private let queue = DispatchQueue(label: "apus.sequencer", qos: .userInitiated)
    /// Only used on `queue`.
    private let barriers = NIOLockedValueBox(RetryBarriers())

    public init(
        log: any EntryLog, handover: any Handover, ids: IDGenerator, clock: any WallClock, limits: Limits = Limits(), logger: Logger
    ) {
        self.log = log
        self.handover = handover
        self.ids = ids
        self.clock = clock
        self.limits = limits
        self.logger = logger
    }

    /// Takes an entry from a session; the answer goes to the ``Handover``.
    /// - Returns: false when too much waits already: the entry was not taken.
    public func submit(_ draft: EntryDraft, from address: SessionAddress, ref: UInt32) -> Bool {
        enqueue(Pending(draft: draft, waiter: .session(address, ref: ref))) == nil
    }

    /// Appends an entry and returns when it is durable.
    /// - Throws: ``ApusError`` `not_member`, `conflict`, `invalid_argument`, `store_unavailable`, `overloaded`, `shutting_down`.
    public func append(_ draft: EntryDraft) async throws -> AppendReceipt {
        try await withCheckedThrowingContinuation { continuation in
            if let refusal = enqueue(Pending(draft: draft, waiter: .call(continuation))) { continuation.resume(throwing: refusal) }
        }
    }

    /// Commits what waits and takes nothing more.
    public func close() async {
        state.withLockedValue { $0.isClosed = true }
        await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
    }

    /// - Returns: why it was not taken.
    private func enqueue(_ pending: Pending) -> ApusError? {
        let (refusal, mustDrain): (ApusError?, Bool) = state.withLockedValue { state in
            if state.isClosed { return (ApusError(.shuttingDown, "the server is shutting down"), false) }
            if state.pending.count >= limits.queueMax { return (ApusError(.overloaded, "too many sends are waiting"), false) }
            state.pending.append(pending)
            let mustDrain = !state.isDraining
            state.isDraining = true
            return (nil, mustDrain)
        }
        if mustDrain { queue.async { self.drain() } }
        return refusal
    }

    private func drain() {
        while let batch = nextBatch() { commit(batch) }
    }

    private func nextBatch() -> [Pending]? {
        state.withLockedValue { state in
            if state.pending.isEmpty {
                state.isDraining = false
                return nil
            }
            if state.pending.count <= limits.batchMax {
                let batch = state.pending
                state.pending = []
                state.pending.reserveCapacity(batch.count)
                return batch
            }
            let batch = Array(state.pending.prefix(limits.batchMax))
            state.pending.removeFirst(limits.batchMax)
            return batch
        }
    }

    private func commit(_ batch: [Pending]) {
        let (accepted, held) = barriers.withLockedValue { $0.isEmpty ? (batch, []) : split(batch, by: &$0) }
        let now = clock.now
        let entries = accepted.map { pending in
            let draft = pending.draft
            return NewEntry(
                id: draft.id ?? ids.next(), conversation: draft.conversation, sender: draft.sender, clientID: draft.clientID,
                kind: draft.kind,
                body: draft.body, at: now, change: draft.change)
        }
        var outcomes: [AppendResult.Outcome]
        do {
            outcomes = zip(entries, try log.append(entries)).map(Self.outcome)
        } catch {
            logger.error("commit failed", metadata: ["entries": "\(entries.count)", "error": "\(error)"])
            let refusal = ApusError(
                .storeUnavailable, "the message could not be stored; try again", retryAfterMilliseconds: 1000, cause: error)
            outcomes = Array(repeating: .refused(refusal), count: entries.count)
            barriers.withLockedValue { barriers in
                for pending in accepted {
                    if case .session(let address, _) = pending.waiter { barriers.raise(address.session, pending.draft) }
                }
            }
        }
        let refusedByBarrier = ApusError(
            .storeUnavailable, "an earlier message to this conversation must be sent again first", retryAfterMilliseconds: 1000)
        answer(accepted + held, outcomes + Array(repeating: .refused(refusedByBarrier), count: held.count))
    }

    private func split(_ batch: [Pending], by barriers: inout RetryBarriers) -> (accepted: [Pending], held: [Pending]) {
        var accepted: [Pending] = []
        var held: [Pending] = []
        for pending in batch {
            if case .session(let address, _) = pending.waiter, !barriers.admits(address.session, pending.draft) {
                held.append(pending)
            } else {
                accepted.append(pending)
            }
        }
        return (accepted, held)
    }

    /// Readers first, then the senders: an acknowledged entry is already on its way.
    private func answer(_ batch: [Pending], _ outcomes: [AppendResult.Outcome]) {
        var results: [AppendResult] = []
        results.reserveCapacity(batch.count)
        for (pending, outcome) in zip(batch, outcomes) {
            var origin: (SessionAddress, UInt32)?
            if case .session(let address, let ref) = pending.waiter { origin = (address, ref) }
            results.append(
                AppendResult(conversation: pending.draft.conversation, clientID: pending.draft.clientID, origin: origin, outcome: outcome))
        }
        handover.handOver(results)
        for (pending, outcome) in zip(batch, outcomes) {
            guard case .call(let continuation) = pending.waiter else { continue }
            switch outcome {
            case .committed(let entry, _, let isDuplicate):
                continuation.resume(returning: AppendReceipt(id: entry.id, seq: entry.seq, at: entry.at, isDuplicate: isDuplicate))
            case .refused(let error): continuation.resume(throwing: error)
            }
        }
    }

    private static func outcome(_ entry: NewEntry, _ outcome: AppendOutcome) -> AppendResult.Outcome {
        switch outcome {
        case .appended(let seq, let audience): .committed(entry.entry(seq: seq), audience: audience, isDuplicate: false)
        case .duplicate(let first, let audience): .committed(first, audience: audience, isDuplicate: true)
        case .refused(.notMember): .refused(ApusError(.notMember, "you are not a member of this conversation"))
        case .refused(.conflict): .refused(ApusError(.conflict, "this client id was used for another message"))
        case .refused(.peerDeleted): .refused(Delivery.peerDeleted)
        case .refused(.changeRefused): .refused(ApusError(.invalidArgument, "this conversation does not allow that change"))
        }
    }
}

/// After a failed commit: per session and conversation the entry that must come again before any later one.
struct RetryBarriers {
    private struct Key: Hashable {
        var session: SessionID
        var conversation: ConversationID
    }

    private static let countMax = 100_000
    private var clientIDs: [Key: String] = [:]

    var isEmpty: Bool { clientIDs.isEmpty }

    mutating func raise(_ session: SessionID, _ draft: EntryDraft) {
        // Sessions that never retry leave their barrier behind; there is no use in remembering more of them than this.
        if clientIDs.count >= Self.countMax { clientIDs.removeAll() }
        let key = Key(session: session, conversation: draft.conversation)
        if clientIDs[key] == nil { clientIDs[key] = draft.clientID }
    }

    mutating func admits(_ session: SessionID, _ draft: EntryDraft) -> Bool {
        let key = Key(session: session, conversation: draft.conversation)
        guard let awaited = clientIDs[key] else { return true }
        guard awaited == draft.clientID else { return false }
        clientIDs[key] = nil
        return true
    }
}

extension Sequencer: Service {
    /// Takes entries until shutdown, and then commits what still waits.
    public func run() async throws {
        try? await gracefulShutdown()
        await close()
    }
}
