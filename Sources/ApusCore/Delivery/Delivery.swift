import ApusProtocol
import Foundation
import Logging

public enum PageResult: Sendable {
    /// The entries in `from...through` that the reader may see. What is missing there is not for this reader.
    case page(from: Seq, through: Seq, head: Seq, entries: [Entry])
    /// The reader is ahead of the log (which was restored from a backup): it starts over at `first`.
    case reset(first: Seq, head: Seq)
}

public struct HeadsResult: Sendable {
    public var heads: [ConversationHead]
    /// For the next call.
    public var token: String
    public var hasMore: Bool
}

/// The rules of writing to and reading from conversations, for whoever speaks to people: the socket and the web role.
public final class Delivery: Sendable {
    public struct Limits: Sendable {
        public var pageEntriesMax: Int
        /// About as many bytes of bodies go into a page.
        public var pageBytesMax: Int
        public var headsMax: Int
        /// Messages of one sender that wait for their time.
        public var scheduledMax: Int
        /// Larger conversations have no typing signals and no marks.
        public var signalMembersMax: Int

        public init(
            pageEntriesMax: Int = 200, pageBytesMax: Int = 262_144, headsMax: Int = 500, scheduledMax: Int = 1000,
            signalMembersMax: Int = 500
        ) {
            self.pageEntriesMax = pageEntriesMax
            self.pageBytesMax = pageBytesMax
            self.headsMax = headsMax
            self.scheduledMax = scheduledMax
            self.signalMembersMax = signalMembersMax
        }
    }

    private let sequencer: Sequencer
    private let log: any EntryLog
    private let conversations: any ConversationStore
    private let scheduler: Scheduler
    private let marks: MarkBuffer
    private let handover: any Handover
    private let clock: any WallClock
    public let rules: SendRules
    private let limits: Limits
    /// ``Limits/pageEntriesMax``, from the next page on.
    public let pageEntriesMax: LiveSetting<Int>

    public init(
        sequencer: Sequencer, log: any EntryLog, conversations: any ConversationStore, scheduler: Scheduler, marks: MarkBuffer,
        handover: any Handover, clock: any WallClock, rules: SendRules, limits: Limits = Limits()
    ) {
        self.sequencer = sequencer
        self.log = log
        self.conversations = conversations
        self.scheduler = scheduler
        self.marks = marks
        self.handover = handover
        self.clock = clock
        self.rules = rules
        self.limits = limits
        pageEntriesMax = LiveSetting(limits.pageEntriesMax)
    }

    // MARK: Writing

    public enum Submission: Sendable {
        /// The answer goes to the hand-over.
        case taken
        case refused(ApusError)
        /// Too much waits. To keep the order, the session must not go on past this frame.
        case overloaded
    }

    /// Takes a send from a session without waiting. `frame.deliverAt` must be nil: see ``schedule(_:from:)``.
    public func submit(_ frame: SendFrame, from sender: AccountID, address: SessionAddress) -> Submission {
        if let refusal = rules.refusal(of: frame, now: clock.now) { return .refused(refusal) }
        let draft = EntryDraft(
            conversation: frame.conversation, sender: sender, clientID: frame.clientID, kind: frame.kind, body: frame.body)
        return sequencer.submit(draft, from: address, ref: frame.ref) ? .taken : .overloaded
    }

    /// Appends an entry of the server's own making (a group's events) and returns when it is durable.
    /// - Throws: ``ApusError`` `not_member`, `conflict`, `invalid_argument`, `store_unavailable`, `overloaded`.
    public func append(_ draft: EntryDraft) async throws -> AppendReceipt {
        try await sequencer.append(draft)
    }

    /// Keeps a message until its time. Durable when it returns.
    /// - Throws: ``ApusError`` `not_member`, `account_deleted`, `conflict`, `invalid_argument`, `overloaded`, `store_unavailable`.
    public func schedule(_ frame: SendFrame, from sender: AccountID) async throws -> AckFrame {
        if let refusal = rules.refusal(of: frame, now: clock.now) { throw refusal }
        guard try await conversations.visibility(of: sender, in: frame.conversation)?.isMember == true else { throw Self.notMember }
        if try await isAbandoned(frame.conversation) { throw Self.peerDeleted }
        return try await scheduler.schedule(frame, from: sender, waitingMax: limits.scheduledMax)
    }

    /// Takes a deleted account out of a conversation, with an entry that says so. Repeating it does nothing more.
    /// - Throws: ``ApusError`` `store_unavailable`, `overloaded`, `shutting_down`.
    public func depart(_ account: AccountID, from conversation: ConversationID) async throws {
        guard let stay = try await conversations.visibility(of: account, in: conversation)?.ranges.last, stay.upperBound == .max else {
            return
        }
        let encoder = JSONEncoder()
        // The same event is the same body, or a repetition would be a conflict.
        encoder.outputFormatting = .sortedKeys
        let body = String(decoding: try encoder.encode(SystemEvent(event: .left, accounts: [account])), as: UTF8.self)
        let draft = EntryDraft(
            // By the stay: who was brought back in the moment of its deletion leaves again.
            conversation: conversation, sender: account, clientID: "apus:account-deleted:\(stay.lowerBound)", kind: .system, body: body,
            change: .accountDeleted)
        do {
            _ = try await append(draft)
        } catch let error as ApusError where error.code == .notMember {
            // Somebody else was quicker.
        }
    }

    /// Whether it is a direct conversation whose other account was deleted.
    private func isAbandoned(_ conversation: ConversationID) async throws -> Bool {
        guard let audience = try await conversations.audience(of: conversation), audience.accounts.count < 2 else { return false }
        return try await conversations.conversation(conversation)?.kind == .direct
    }

    // MARK: Reading

    /// A range of a log as this account may see it. `limit` 0 or too large: the page size of the server.
    /// - Throws: ``ApusError`` `not_member`, `invalid_argument`, `store_unavailable`.
    public func page(of conversation: ConversationID, for account: AccountID, from: Seq, limit: Int) async throws -> PageResult {
        guard from >= 1 else { throw ApusError(.invalidArgument, "from begins with 1") }
        // The head first: a stay that is open now was open up to it. The other way round, who leaves between the two reads (seconds,
        // when the store is away) would be shown what was said after that.
        let logHead = try await log.head(of: conversation)
        guard let visibility = try await conversations.visibility(of: account, in: conversation) else { throw Self.notMember }
        let pageMax = pageEntriesMax.value
        let limit = limit > 0 ? min(limit, pageMax) : pageMax
        let head = visibility.head(of: logHead)
        guard from <= head else {
            // A reader that left and whose cursor is at its last entry is not ahead of the log.
            if from > logHead + 1 { return .reset(first: 1, head: head) }
            return .page(from: from, through: max(head, from - 1), head: head, entries: [])
        }
        var next = from
        for range in visibility.ranges where range.upperBound >= from && range.lowerBound <= head {
            let part = max(range.lowerBound, from)...min(range.upperBound, head)
            let entries = try await log.entries(of: conversation, in: part, limit: limit, bytesMax: limits.pageBytesMax)
            next = (entries.last?.seq ?? part.upperBound) + 1
            // One visible range per page keeps a page one read; what was hidden before it is covered by `from`.
            if !entries.isEmpty { return .page(from: from, through: next - 1, head: head, entries: entries) }
        }
        return .page(from: from, through: max(head, next - 1), head: head, entries: [])
    }

    /// The heads that moved since `token`; empty: all.
    /// - Throws: ``ApusError`` `invalid_argument` for a token that is not one of ours, `store_unavailable`.
    public func heads(for account: AccountID, token: String) async throws -> HeadsResult {
        guard let cursor = SyncToken(token) else { throw ApusError(.invalidArgument, "not a sync token") }
        let page = try await log.heads(of: account, since: cursor.since, after: cursor.after, limit: limits.headsMax)
        let next = cursor.following(position: page.position, after: page.next)
        return HeadsResult(heads: page.heads, token: next.description, hasMore: page.next != nil)
    }

    // MARK: Signals

    /// Moves an account's cursors and tells the others, soon.
    public func mark(_ mark: Mark) throws {
        try marks.add(mark)
    }

    /// Tells the others that somebody is typing.
    public func typing(in conversation: ConversationID, by account: AccountID, session: SessionID) async throws {
        guard let audience = try await conversations.audience(of: conversation), audience.accounts.contains(account) else {
            throw Self.notMember
        }
        guard audience.accounts.count <= limits.signalMembersMax else { return }
        handover.signal(.typing(conversation, account), to: audience, except: session)
    }

    static let notMember = ApusError(.notMember, "you are not a member of this conversation")
    static let peerDeleted = ApusError(.accountDeleted, "the other account was deleted: nothing can be sent to it any more")
}

/// What `sync` remembers between two calls: the position up to which the client knows all heads, and, inside a round of
/// several pages, where the round began and how far it is. `position` or `since.position.after`.
struct SyncToken: CustomStringConvertible, Equatable {
    var since: LogPosition
    /// The position at the beginning of this round; nil: no round is under way.
    var round: LogPosition?
    var after: ConversationID?

    init(since: LogPosition, round: LogPosition? = nil, after: ConversationID? = nil) {
        self.since = since
        self.round = round
        self.after = after
    }

    init?(_ text: String) {
        if text.isEmpty {
            self.init(since: .start)
            return
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { UInt64($0) }
        guard !parts.contains(nil), parts.count == 1 || parts.count == 3, let since = parts[0] else { return nil }
        if parts.count == 1 {
            self.init(since: LogPosition(rawValue: since))
        } else {
            self.init(
                since: LogPosition(rawValue: since), round: parts[1].map { LogPosition(rawValue: $0) },
                after: parts[2].map { ConversationID($0) })
        }
    }

    func following(position: LogPosition, after: ConversationID?) -> SyncToken {
        let round = round ?? position
        guard let after else { return SyncToken(since: round) }
        return SyncToken(since: since, round: round, after: after)
    }

    var description: String {
        guard let round, let after else { return String(since.rawValue) }
        return "\(since.rawValue).\(round.rawValue).\(after.rawValue)"
    }
}
