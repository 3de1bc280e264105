public enum ConversationKind: String, Codable, Sendable {
    case direct, group
}

public enum MemberRole: String, Codable, Sendable {
    case owner, member
}

/// `POST /v1/conversations`. Direct: `members` names the one other account; asking again yields the same conversation.
public struct NewConversationRequest: Codable, Sendable {
    public var kind: ConversationKind
    public var title: String?
    public var members: [AccountID]?

    public init(kind: ConversationKind, title: String? = nil, members: [AccountID]? = nil) {
        self.kind = kind
        self.title = title
        self.members = members
    }
}

/// `GET /v1/conversations/{id}`, an element of `GET /v1/conversations`.
public struct ConversationInfo: Codable, Hashable, Sendable {
    public var id: ConversationID
    public var kind: ConversationKind
    public var title: String
    /// The other account of a direct conversation.
    public var peer: AccountID?
    public var memberCount: Int
    /// The last seq that the asking account may see.
    public var head: Seq
    public var read: Seq

    public init(id: ConversationID, kind: ConversationKind, title: String, peer: AccountID?, memberCount: Int, head: Seq, read: Seq) {
        self.id = id
        self.kind = kind
        self.title = title
        self.peer = peer
        self.memberCount = memberCount
        self.head = head
        self.read = read
    }

    enum CodingKeys: String, CodingKey {
        case id, kind, title, peer, head, read
        case memberCount = "member_count"
    }
}

/// A page of `GET /v1/conversations?after=&limit=`, by id.
public struct ConversationList: Codable, Sendable {
    public var conversations: [ConversationInfo]
    /// Pass as `after` for the next page; nil: this was the last.
    public var next: ConversationID?

    public init(conversations: [ConversationInfo], next: ConversationID?) {
        self.conversations = conversations
        self.next = next
    }
}

/// `PATCH /v1/conversations/{id}`
public struct ConversationUpdate: Codable, Sendable {
    public var title: String
    public init(title: String) { self.title = title }
}

/// `GET /v1/conversations/{id}/members?after=&limit=`
public struct MemberInfo: Codable, Hashable, Sendable {
    public var account: AccountID
    public var role: MemberRole
    public var joined: Seq
    public var read: Seq
    public var delivered: Seq

    public init(account: AccountID, role: MemberRole, joined: Seq, read: Seq, delivered: Seq) {
        self.account = account
        self.role = role
        self.joined = joined
        self.read = read
        self.delivered = delivered
    }
}

public struct MemberList: Codable, Sendable {
    public var members: [MemberInfo]
    public var next: AccountID?

    public init(members: [MemberInfo], next: AccountID?) {
        self.members = members
        self.next = next
    }
}

/// `POST /v1/conversations/{id}/members`
public struct InviteRequest: Codable, Sendable {
    public var accounts: [AccountID]
    public init(accounts: [AccountID]) { self.accounts = accounts }
}

/// `GET /v1/conversations/{id}/entries?from=&limit=`: the page of `pull`, in JSON of the HTTP API.
public struct EntryPage: Codable, Sendable {
    public var from: Seq
    public var through: Seq
    public var head: Seq
    public var entries: [EntryInfo]
    /// Not nil: `from` is not a place in this log; the reader starts over at this seq.
    public var reset: Seq?

    public init(from: Seq, through: Seq, head: Seq, entries: [EntryInfo], reset: Seq? = nil) {
        self.from = from
        self.through = through
        self.head = head
        self.entries = entries
        self.reset = reset
    }
}

public struct EntryInfo: Codable, Hashable, Sendable {
    public var id: EntryID
    public var conversation: ConversationID
    public var seq: Seq
    public var sender: AccountID
    public var kind: EntryKind
    public var body: String
    /// Unix milliseconds.
    public var at: Timestamp

    public init(_ entry: Entry) {
        id = entry.id
        conversation = entry.conversation
        seq = entry.seq
        sender = entry.sender
        kind = entry.kind
        body = entry.body
        at = entry.at
    }

    public var entry: Entry { Entry(conversation: conversation, seq: seq, id: id, sender: sender, at: at, kind: kind, body: body) }
}

/// `GET /v1/socket`: where to connect.
public struct SocketNode: Codable, Sendable {
    /// `ws://host:port/v1/socket`
    public var url: String
    /// `host:port`; nil: this node does not listen on TCP.
    public var tcp: String?
    /// Whether `tcp` is to be spoken to inside TLS. Missing is no.
    public var isTCPEncrypted: Bool

    enum CodingKeys: String, CodingKey {
        case url, tcp
        case isTCPEncrypted = "tcp_tls"
    }

    public init(url: String, tcp: String?, isTCPEncrypted: Bool = false) {
        self.url = url
        self.tcp = tcp
        self.isTCPEncrypted = isTCPEncrypted
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        url = try container.decode(String.self, forKey: .url)
        tcp = try container.decodeIfPresent(String.self, forKey: .tcp)
        isTCPEncrypted = try container.decodeIfPresent(Bool.self, forKey: .isTCPEncrypted) ?? false
    }
}
