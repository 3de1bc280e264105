import ApusProtocol

/// A present member of a conversation.
public struct Member: Sendable, Hashable {
    public var account: AccountID
    /// The first seq that it sees of its present membership.
    public var joined: Seq
    public var role: MemberRole

    public init(account: AccountID, joined: Seq, role: MemberRole) {
        self.account = account
        self.joined = joined
        self.role = role
    }
}

/// The present members of a conversation. Immutable, so that every reader of a large group shares one.
public final class Roster: Sendable {
    /// The longest-standing first; by account among those who joined together.
    public let members: [Member]
    /// The members' accounts, in the same order.
    public let audience: Audience
    private let places: [AccountID: Int]

    /// - Parameter changed: the last entry with which somebody came or left; 0: there is none.
    public init(_ members: [Member], changed: Seq) {
        self.members = members.sorted { ($0.joined, $0.account) < ($1.joined, $1.account) }
        audience = Audience(self.members.map(\.account), rosterSeq: changed)
        places = Dictionary(uniqueKeysWithValues: audience.accounts.enumerated().map { ($1, $0) })
    }

    public subscript(account: AccountID) -> Member? { places[account].map { members[$0] } }

    public func contains(_ account: AccountID) -> Bool { places[account] != nil }
}

/// What an entry does to the records of its conversation. A store writes it in the entry's transaction.
public enum ConversationEffect: Sendable, Hashable {
    case created(Conversation)
    case joined(Member)
    /// The membership that began at `joined` ends with this entry.
    case left(AccountID, joined: Seq)
    case promoted(AccountID, joined: Seq)
    case renamed(String)
}

extension AppendRefusal: Error {}

/// All that decides whether and where an entry is appended to a conversation, and who gets it. A value without I/O: every
/// store applies the same rules.
public struct ConversationState: Sendable {
    public private(set) var conversation: Conversation
    /// 0: no entry yet.
    public private(set) var head: Seq
    public private(set) var roster: Roster

    public init(conversation: Conversation, head: Seq, roster: Roster) {
        self.conversation = conversation
        self.head = head
        self.roster = roster
    }

    /// What an accepted entry leads to.
    public struct Step: Sendable {
        public var seq: Seq
        public var audience: Audience
        public var effects: [ConversationEffect]
    }

    /// The conversation that `entry` creates, and the entry's own place in it.
    public static func creating(
        with entry: NewEntry, title: String, members: [AccountID], membersMax: Int
    ) throws(AppendRefusal) -> (ConversationState, Step) {
        let others = Set(members).subtracting([entry.sender])
        guard others.count < membersMax else { throw .changeRefused }
        let conversation = Conversation(id: entry.conversation, kind: .group, title: title, createdAt: entry.at)
        let owner = Member(account: entry.sender, joined: 1, role: .owner)
        let roster = Roster([owner] + others.map { Member(account: $0, joined: 1, role: .member) }, changed: 1)
        let state = ConversationState(conversation: conversation, head: 1, roster: roster)
        let effects = [.created(conversation)] + roster.members.map(ConversationEffect.joined)
        return (state, Step(seq: 1, audience: roster.audience, effects: effects))
    }

    /// Takes `entry` as the next of this conversation, or leaves everything as it is.
    public mutating func apply(_ entry: NewEntry, membersMax: Int) throws(AppendRefusal) -> Step {
        guard let sender = roster[entry.sender] else { throw .notMember }
        // Nobody has a direct conversation with himself: one member is the one that is left.
        let isAbandoned = conversation.kind == .direct && roster.members.count < 2
        guard !isAbandoned || entry.change == .accountDeleted else { throw .peerDeleted }
        var audience = roster.audience
        var effects: [ConversationEffect] = []
        if let change = entry.change {
            guard conversation.kind == .group || change == .accountDeleted else { throw .changeRefused }
            switch change {
            case .create: throw .conflict
            case .join(let accounts):
                let joining = Set(accounts).filter { !roster.contains($0) }
                guard roster.members.count + joining.count <= membersMax else { throw .changeRefused }
                effects = join(joining)
                audience = roster.audience
            case .leave, .accountDeleted: effects = leave(sender)
            case .rename(let title):
                conversation.title = title
                effects = [.renamed(title)]
            }
        }
        head += 1
        return Step(seq: head, audience: audience, effects: effects)
    }

    private mutating func join(_ accounts: Set<AccountID>) -> [ConversationEffect] {
        guard !accounts.isEmpty else { return [] }
        let joining = accounts.sorted().map { Member(account: $0, joined: head + 1, role: .member) }
        roster = Roster(roster.members + joining, changed: head + 1)
        return joining.map(ConversationEffect.joined)
    }

    private mutating func leave(_ leaver: Member) -> [ConversationEffect] {
        var effects = [ConversationEffect.left(leaver.account, joined: leaver.joined)]
        var rest = roster.members.filter { $0.account != leaver.account }
        if leaver.role == .owner, let heir = rest.first {
            rest[0].role = .owner
            effects.append(.promoted(heir.account, joined: heir.joined))
        }
        roster = Roster(rest, changed: head + 1)
        return effects
    }
}
