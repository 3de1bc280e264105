import ApusProtocol

public struct Conversation: Sendable, Hashable {
    public var id: ConversationID
    public var kind: ConversationKind
    public var title: String
    public var createdAt: Timestamp

    public init(id: ConversationID, kind: ConversationKind, title: String, createdAt: Timestamp) {
        self.id = id
        self.kind = kind
        self.title = title
        self.createdAt = createdAt
    }
}

/// How far an account's devices are in a conversation. Both cursors only grow.
public struct Mark: Sendable, Hashable {
    public var conversation: ConversationID
    public var account: AccountID
    public var read: Seq
    public var delivered: Seq

    public init(conversation: ConversationID, account: AccountID, read: Seq, delivered: Seq) {
        self.conversation = conversation
        self.account = account
        self.read = read
        self.delivered = delivered
    }
}

/// The parts of a conversation that an account may read: while it is a member, and what was said while it was one.
public struct Visibility: Sendable, Hashable {
    /// Ascending, disjoint. A current member's last range ends at `Seq.max`.
    public var ranges: [ClosedRange<Seq>]

    public init(ranges: [ClosedRange<Seq>]) { self.ranges = ranges }

    public var isMember: Bool { ranges.last?.upperBound == .max }

    public func contains(_ seq: Seq) -> Bool { ranges.contains { $0.contains(seq) } }

    /// The last seq that is visible in a log of this head; 0: none.
    public func head(of head: Seq) -> Seq {
        for range in ranges.reversed() where range.lowerBound <= head { return min(range.upperBound, head) }
        return 0
    }
}

/// The accounts that get an entry. Shared, never copied: a group of 10,000 has one.
public final class Audience: Sendable {
    public let accounts: [AccountID]
    /// The entry with which the last of them came or somebody left.
    public let rosterSeq: Seq

    public init(_ accounts: [AccountID], rosterSeq: Seq) {
        self.accounts = accounts
        self.rosterSeq = rosterSeq
    }
}

/// Conversations and who is in them, durable. Members come and go through ``EntryLog/append(_:)`` only, so that every change
/// has its place in the log.
public protocol ConversationStore: Sendable {
    /// The one direct conversation of two accounts, made with `proposedID` if there is none yet; both are members from seq 1.
    func direct(between first: AccountID, and second: AccountID, proposedID: ConversationID, at: Timestamp) async throws -> Conversation
    func conversation(_ id: ConversationID) async throws -> Conversation?
    /// Conversations that the account is a member of, ascending by id, beginning after `after`; at most `limit`.
    func conversations(of account: AccountID, after: ConversationID?, limit: Int) async throws -> [ConversationInfo]
    /// One of them; nil when the account was never a member.
    func conversation(_ id: ConversationID, of account: AccountID) async throws -> ConversationInfo?
    /// Current members, ascending by account, beginning after `after`; at most `limit`.
    func members(of id: ConversationID, after: AccountID?, limit: Int) async throws -> [MemberInfo]
    /// Nil when the account was never a member.
    func visibility(of account: AccountID, in id: ConversationID) async throws -> Visibility?
    /// All current members; nil when there is no such conversation. Cheap: answered from a cache where one is kept.
    func audience(of id: ConversationID) async throws -> Audience?
    /// Moves cursors forward; smaller values and accounts that are no members are ignored. At most 1,000 marks.
    func save(_ marks: [Mark]) async throws
}
