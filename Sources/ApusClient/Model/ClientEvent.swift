import ApusProtocol

/// What happens at a ``Client``. Entries come once each and in the order of their seqs within a conversation; an entry is in
/// the local store before its event is emitted.
public enum ClientEvent: Sendable {
    case connection(ConnectionState)
    /// A new entry, also one that this account sent: from here or from another device.
    case entry(Entry)
    /// A message of this client is durable on the server.
    case acknowledged(AckFrame)
    /// The server refused a message for good; it has left the outbox.
    case sendFailed(conversation: ConversationID, clientID: String, error: ApusError)
    /// Cursors of an account in a conversation moved forward; also those of this account, moved by another device.
    case marks(ReadMarks)
    case typing(conversation: ConversationID, account: AccountID)
    /// The server no longer has what this client missed. The local entries of the conversation are gone; it starts over at `first`.
    case reset(conversation: ConversationID, first: Seq)
    /// This consumer was too slow and events were dropped for it. Entries and marks are in the local store: read them there.
    case missedEvents
    /// The login is void; the client is disconnected until the next ``Client/login(username:password:)``.
    case loggedOut(LogoutReason)
}

public enum ConnectionState: Sendable, Hashable {
    /// Not asked to connect, or closed.
    case disconnected
    case connecting
    /// Welcomed; what was missed is still being fetched.
    case syncing
    /// Connected, and the heads of all conversations are known.
    case online
    /// Waiting before the next attempt.
    case waiting(Duration)
    /// The server closed the connection for good: the same would happen again.
    case failed(CloseCode)
}

public enum LogoutReason: Sendable, Hashable {
    /// ``Client/logout()`` was called.
    case requested
    /// Another device or an administrator ended this login.
    case deviceRevoked
    /// The server no longer accepts the tokens.
    case tokenRefused
    /// ``Client/connect()`` was called and nobody is logged in, or another client of the directory logged out.
    case notLoggedIn
}

/// How far an account's devices are in a conversation. Both only grow.
public struct ReadMarks: Sendable, Hashable {
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

/// Who is logged in here.
public struct LoginInfo: Sendable, Hashable, Codable {
    public var account: AccountID
    public var device: DeviceID
    public var username: String

    public init(account: AccountID, device: DeviceID, username: String) {
        self.account = account
        self.device = device
        self.username = username
    }
}

/// A conversation as the local store knows it.
public struct LocalConversation: Sendable, Hashable {
    public var id: ConversationID
    /// Everything visible through here is in the local store, or was left out by ``ClientConfiguration/Backfill``.
    public var cursor: Seq
    /// The last seq known to exist.
    public var head: Seq
    /// This account's own read mark.
    public var read: Seq
    /// Local entries of others past the read mark, system entries not counted.
    public var unread: Int
    /// Title, kind and peer, as ``Client/conversations()`` last saw them.
    public var info: ConversationInfo?

    public init(id: ConversationID, cursor: Seq, head: Seq, read: Seq, unread: Int, info: ConversationInfo?) {
        self.id = id
        self.cursor = cursor
        self.head = head
        self.read = read
        self.unread = unread
        self.info = info
    }
}

extension ErrorCode {
    // What only the client says; these never go over the wire.

    /// No connection to the server could be made, or it broke before the answer.
    public static let unreachable = ErrorCode(rawValue: "unreachable")
    public static let timedOut = ErrorCode(rawValue: "timed_out")
    /// Nobody is logged in here.
    public static let notLoggedIn = ErrorCode(rawValue: "not_logged_in")
    /// The server no longer accepts the tokens of this login.
    public static let loginEnded = ErrorCode(rawValue: "login_ended")
    /// The client was closed while the call waited. A message stays in the outbox.
    public static let clientClosed = ErrorCode(rawValue: "client_closed")
    /// The local store failed.
    public static let localStore = ErrorCode(rawValue: "local_store")
    /// The server's answer is not what the protocol says.
    public static let badAnswer = ErrorCode(rawValue: "bad_answer")
}
