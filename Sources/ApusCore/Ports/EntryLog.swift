import ApusProtocol

/// An entry before it has a place in the log.
public struct NewEntry: Sendable {
    public var id: EntryID
    public var conversation: ConversationID
    public var sender: AccountID
    /// With conversation and sender the name of this entry for ever.
    public var clientID: String
    public var kind: EntryKind
    public var body: String
    public var at: Timestamp
    /// What this entry does to the conversation, in the same transaction.
    public var change: ConversationChange?

    public init(
        id: EntryID, conversation: ConversationID, sender: AccountID, clientID: String, kind: EntryKind, body: String, at: Timestamp,
        change: ConversationChange? = nil
    ) {
        self.id = id
        self.conversation = conversation
        self.sender = sender
        self.clientID = clientID
        self.kind = kind
        self.body = body
        self.at = at
        self.change = change
    }

    public func entry(seq: Seq) -> Entry {
        Entry(conversation: conversation, seq: seq, id: id, sender: sender, at: at, kind: kind, body: body)
    }
}

public enum ConversationChange: Sendable, Hashable {
    /// This entry is seq 1 of a new group; the sender is its owner, `members` (without the sender) join with it.
    case create(title: String, members: [AccountID])
    /// These accounts see the log from this entry on. Those who are members already stay as they are.
    case join([AccountID])
    /// This entry is the last one that the sender sees.
    case leave
    /// The sender's account was deleted. As `leave`, and of a direct conversation too: its history stays with the other account, and
    /// nothing more is taken there.
    case accountDeleted
    case rename(String)
}

public enum AppendRefusal: Sendable, Hashable {
    /// The sender is no member at this point of the log, or there is no such conversation.
    case notMember
    /// The client id names an entry with other content, or the conversation to create exists.
    case conflict
    /// The change does not fit the conversation: a direct one has no title and nobody joins or leaves; the group is full.
    case changeRefused
    /// The other account of this direct conversation was deleted.
    case peerDeleted
}

public enum AppendOutcome: Sendable {
    /// `audience`: who may see it, the one who leaves with it included.
    case appended(seq: Seq, audience: Audience)
    /// The first entry of this name, as it was stored. `audience`: the members now.
    case duplicate(Entry, audience: Audience)
    case refused(AppendRefusal)
}

/// A place in the order in which the store committed entries of all conversations. Opaque to all but the store.
public struct LogPosition: Sendable, Hashable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let start = LogPosition(rawValue: 0)
}

public struct ConversationHead: Sendable, Hashable {
    public var conversation: ConversationID
    public var seq: Seq
    public var read: Seq

    public init(conversation: ConversationID, seq: Seq, read: Seq = 0) {
        self.conversation = conversation
        self.seq = seq
        self.read = read
    }
}

public struct HeadPage: Sendable {
    public var heads: [ConversationHead]
    /// Heads that move after this call are reported by a call with this position.
    public var position: LogPosition
    /// Not nil: call again with the same `since` and this `after`, and keep the `position` of the first page.
    public var next: ConversationID?

    public init(heads: [ConversationHead], position: LogPosition, next: ConversationID? = nil) {
        self.heads = heads
        self.position = position
        self.next = next
    }
}

/// The append-only logs of all conversations: the heart of Apus.
///
/// Promises: an entry whose `append` returned survives kill -9 and power loss; seqs of a conversation are 1, 2, 3 …; an
/// entry that a reader saw never changes its place; (conversation, sender, client id) exists once, ever.
public protocol EntryLog: Sendable {
    /// Appends a batch in its order, in one transaction with one sync to disk, and answers in the same order. Entries of the
    /// batch see those before them (a second entry of the same name is a duplicate, one after the sender's `leave` is refused).
    /// Blocks: call it from a thread of one's own, one call at a time.
    /// - Throws: ``ApusError`` `store_unavailable`: nothing of the batch is acknowledged; part of it may turn out to be stored,
    ///   which a repeated send finds out.
    func append(_ batch: [NewEntry]) throws -> [AppendOutcome]

    /// Entries of the range in order, from its lower bound on, at most `limit` and about `bytesMax` of bodies but at least one.
    func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry]

    /// 0: no entry yet.
    func head(of conversation: ConversationID) async throws -> Seq

    /// Visible heads of the conversations that the account is or was in and whose log moved after `since`; ascending by
    /// conversation, beginning after `after`, at most `limit`. One read of the store. Heads that moved shortly before `since` may be
    /// among them, here and below; none that moved after it is missing.
    func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage

    /// Heads of any conversation that moved after `since`, in the order of the log; at most `limit`, and then `position` is
    /// where to go on. One read of the store: this is the head sweep.
    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage

    /// The present end of the log.
    func position() async throws -> LogPosition
}
