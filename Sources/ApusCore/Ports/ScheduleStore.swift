import ApusProtocol

/// A message that waits for its time.
public struct ScheduledEntry: Sendable, Hashable {
    public var id: EntryID
    public var conversation: ConversationID
    public var sender: AccountID
    public var clientID: String
    public var kind: EntryKind
    public var body: String
    public var createdAt: Timestamp
    public var deliverAt: Timestamp

    public init(
        id: EntryID, conversation: ConversationID, sender: AccountID, clientID: String, kind: EntryKind, body: String, createdAt: Timestamp,
        deliverAt: Timestamp
    ) {
        self.id = id
        self.conversation = conversation
        self.sender = sender
        self.clientID = clientID
        self.kind = kind
        self.body = body
        self.createdAt = createdAt
        self.deliverAt = deliverAt
    }
}

public enum ScheduleOutcome: Sendable, Hashable {
    case scheduled
    /// The same name, content and time were scheduled before, as this.
    case duplicate(ScheduledEntry)
    /// The name is in use with other content, here or in the log.
    case conflict
    /// The name is in the log already: it was due and went out, as this entry.
    case delivered(Entry)
    /// The sender has too many waiting.
    case full
}

/// Messages that wait, durable.
public protocol ScheduleStore: Sendable {
    /// Durable when it returns. At most `waitingMax` wait for one sender.
    func schedule(_ entry: ScheduledEntry, waitingMax: Int) async throws -> ScheduleOutcome
    /// Those that are due at `time`, earliest first.
    func due(at time: Timestamp, limit: Int) async throws -> [ScheduledEntry]
    /// When the next one is due.
    func nextDue() async throws -> Timestamp?
    /// Forgets those that have been appended.
    func remove(_ ids: [EntryID]) async throws
}
