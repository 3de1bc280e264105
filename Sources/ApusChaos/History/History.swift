import ApusProtocol

/// What clients did and saw during a run, for ``HistoryChecker``. Recorded outside the server and trusted; the server is not.
///
/// Entries carry no client id, therefore a recorder gives every client id of a sender a body of its own: that is how the checker
/// recognises an entry.
public struct History: Sendable {
    /// Per session in the order in which the session sent.
    public var sends: [Send]
    public var observations: [Observation]
    /// The log of each conversation, read from 1 to the head after the run by somebody who may see all of it.
    public var logs: [ConversationID: [Entry]]
    /// Who might see what. An account that is not named for a conversation may see nothing of it.
    public var visibility: [ConversationID: [AccountID: [ClosedRange<Seq>]]]

    public init(
        sends: [Send] = [], observations: [Observation] = [], logs: [ConversationID: [Entry]] = [:],
        visibility: [ConversationID: [AccountID: [ClosedRange<Seq>]]] = [:]
    ) {
        self.sends = sends
        self.observations = observations
        self.logs = logs
        self.visibility = visibility
    }
}

extension History {
    /// Names one entry for ever (contract C3).
    public struct EntryName: Hashable, Sendable, CustomStringConvertible {
        public var conversation: ConversationID
        public var sender: AccountID
        public var clientID: String

        public init(conversation: ConversationID, sender: AccountID, clientID: String) {
            self.conversation = conversation
            self.sender = sender
            self.clientID = clientID
        }

        public var description: String { "\(clientID) of \(sender) in \(conversation)" }
    }

    public struct Content: Hashable, Sendable {
        public var kind: EntryKind
        public var body: String

        public init(kind: EntryKind = .text, body: String) {
            self.kind = kind
            self.body = body
        }
    }

    /// What recognises an entry of the log.
    struct ContentKey: Hashable {
        var conversation: ConversationID
        var sender: AccountID
        var content: Content
    }

    /// Where an acknowledgement says that an entry is.
    public struct Place: Hashable, Sendable, CustomStringConvertible {
        public var id: EntryID
        public var seq: Seq

        public init(id: EntryID, seq: Seq) {
            self.id = id
            self.seq = seq
        }

        public var description: String { "seq \(seq) id \(id)" }
    }

    public enum Outcome: Hashable, Sendable {
        case acknowledged(Place)
        /// Acknowledged for a later time: it has an id, and its place is not where it was sent.
        case scheduled(EntryID)
        /// No answer, or one that says "try again": the entry may be there or not.
        case unknown
        /// Refused for good: the entry must not be there.
        case refused(ErrorCode)
    }

    /// One send. Sending the same again is one more of these.
    public struct Send: Hashable, Sendable {
        /// Who promises an order: one connection, or one client whose outbox keeps the order across connections.
        public var session: String
        public var name: EntryName
        public var content: Content
        public var outcome: Outcome

        public init(session: String, name: EntryName, content: Content, outcome: Outcome) {
            self.session = session
            self.name = name
            self.content = content
            self.outcome = outcome
        }
    }

    public enum Sight: Hashable, Sendable {
        case entry(Entry)
        /// The server said that its log no longer has what the reader's cursor points at.
        case reset(first: Seq)
    }

    /// What one reader saw of one conversation, in the order in which it saw it; its own messages included.
    public struct Observation: Sendable {
        public var reader: String
        public var account: AccountID
        public var conversation: ConversationID
        /// Where the reader began: nothing before it is missed.
        public var from: Seq
        public var sights: [Sight]
        /// Whether the reader was given the time to get everything. If not, the end may be missing, but no hole may be before it.
        public var isComplete: Bool

        public init(
            reader: String, account: AccountID, conversation: ConversationID, from: Seq = 1, sights: [Sight] = [], isComplete: Bool = true
        ) {
            self.reader = reader
            self.account = account
            self.conversation = conversation
            self.from = from
            self.sights = sights
            self.isComplete = isComplete
        }
    }
}
