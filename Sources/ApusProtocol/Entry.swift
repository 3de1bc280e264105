/// Unix time in milliseconds, as the wire and the store have it.
public struct Timestamp: Hashable, Sendable, Comparable, Codable {
    public let milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func < (left: Self, right: Self) -> Bool { left.milliseconds < right.milliseconds }

    public init(from decoder: any Decoder) throws {
        milliseconds = try decoder.singleValueContainer().decode(Int64.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(milliseconds)
    }
}

/// What an entry is. Open on purpose: a client shows a kind that it does not know as "not supported here".
public struct EntryKind: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The body is the text.
    public static let text = EntryKind(rawValue: "text")
    /// The body is a JSON document that the application defines.
    public static let custom = EntryKind(rawValue: "custom")
    /// The body is a JSON document of ``SystemEvent``; only the server writes these.
    public static let system = EntryKind(rawValue: "system")
}

/// One record of a conversation's append-only log.
public struct Entry: Hashable, Sendable {
    public var conversation: ConversationID
    public var seq: Seq
    public var id: EntryID
    public var sender: AccountID
    public var at: Timestamp
    public var kind: EntryKind
    /// Text for kind `text`, a JSON document for every other kind.
    public var body: String

    public init(
        conversation: ConversationID, seq: Seq, id: EntryID, sender: AccountID, at: Timestamp, kind: EntryKind, body: String
    ) {
        self.conversation = conversation
        self.seq = seq
        self.id = id
        self.sender = sender
        self.at = at
        self.kind = kind
        self.body = body
    }
}

/// The body of an entry of kind `system`: what happened to the conversation.
public struct SystemEvent: Codable, Hashable, Sendable {
    public enum Event: String, Codable, Sendable {
        case created, joined, left, renamed
    }

    public var event: Event
    /// Who joined or left.
    public var accounts: [AccountID]?
    public var title: String?

    public init(event: Event, accounts: [AccountID]? = nil, title: String? = nil) {
        self.event = event
        self.accounts = accounts
        self.title = title
    }
}
