import ApusProtocol
import Foundation

/// A connection to an Apus server, and everything an app needs to chat through it.
///
/// A client keeps entries, cursors and outgoing messages in its local store, connects again by itself, and fetches what it
/// missed. Entries reach ``events()`` once each and in order per conversation.
///
/// ```swift
/// let client = try Client(configuration: ClientConfiguration(server: url, storage: .directory(directory)))
/// try await client.login(username: "ada", password: password)
/// await client.connect()
/// ```
public actor Client {
    public nonisolated let configuration: ClientConfiguration
    nonisolated let hub: EventHub

    /// Opens the local store.
    /// - Throws: ``ApusError`` `local_store` when it cannot be opened, `invalid_argument` when the configuration makes no sense.
    public init(configuration: ClientConfiguration) throws {
        self.configuration = configuration
        hub = EventHub(capacity: configuration.eventBufferMax)
    }

    // MARK: Connection

    /// Events from now on. Each call makes a consumer of its own.
    public nonisolated func events() -> ClientEvents { hub.subscribe() }

    public var connectionState: ConnectionState { .disconnected }

    /// Starts to connect and returns; ``ClientEvent/connection(_:)`` tells how it goes. Does nothing when it is under way; when the client waits
    /// before its next attempt, it tries at once (call it when the network came back or the app came to the foreground).
    public func connect() {}

    /// Disconnects, ends every ``events()`` sequence and gives the outbox free for other clients of the directory. What waits in the
    /// outbox stays there. The client cannot be used afterwards.
    public func close() async {}

    // MARK: Account

    /// Makes an account. Does not log in.
    @discardableResult
    public func register(username: String, password: String, displayName: String? = nil) async throws -> AccountProfile { throw soon }

    /// Logs in and stores the tokens. A login as another account than before removes the local entries and the outbox.
    @discardableResult
    public func login(username: String, password: String) async throws -> LoginInfo { throw soon }

    /// Disconnects, ends the login on the server and forgets the tokens. Local entries stay until another account logs in.
    public func logout() async throws { throw soon }

    /// Who is logged in here; nil: nobody.
    public func currentLogin() async throws -> LoginInfo? { throw soon }

    /// A token for HTTP calls of the application's own, refreshed when it is about to expire.
    public func accessToken() async throws -> String { throw soon }

    public func profile() async throws -> AccountProfile { throw soon }
    @discardableResult
    public func updateProfile(_ update: ProfileUpdate) async throws -> AccountProfile { throw soon }
    /// Ends every other device's login.
    public func changePassword(current: String, new: String) async throws { throw soon }
    public func devices() async throws -> [DeviceInfo] { throw soon }
    /// Ends that device's login and closes its connections.
    public func revokeDevice(_ id: DeviceID) async throws { throw soon }

    // MARK: People

    /// From a cache when this client has seen the account in the last ten minutes.
    public func account(_ id: AccountID) async throws -> AccountProfile { throw soon }
    /// - Throws: ``ApusError`` `not_found`.
    public func account(username: String) async throws -> AccountProfile { throw soon }
    /// Accounts whose username begins with `prefix`, by username.
    public func searchAccounts(prefix: String, limit: Int = 20) async throws -> [AccountProfile] { throw soon }
    public func online() async throws -> OnlineList { throw soon }

    // MARK: Conversations

    /// The one direct conversation with that account, made if there is none yet.
    public func directConversation(with username: String) async throws -> ConversationInfo { throw soon }
    /// - Parameter members: the others; this account is the owner.
    public func createGroup(title: String, members: [AccountID]) async throws -> ConversationInfo { throw soon }
    public func invite(_ accounts: [AccountID], to conversation: ConversationID) async throws { throw soon }
    public func leave(_ conversation: ConversationID) async throws { throw soon }
    public func rename(_ conversation: ConversationID, title: String) async throws { throw soon }
    /// All of them, from the server.
    public func conversations() async throws -> [ConversationInfo] { throw soon }
    public func conversation(_ id: ConversationID) async throws -> ConversationInfo { throw soon }
    public func members(of conversation: ConversationID) async throws -> [MemberInfo] { throw soon }

    // MARK: Messages

    /// Puts a message into the outbox and returns when the server has made it durable. It survives the loss of the connection and,
    /// with storage in a directory, the end of the process.
    /// - Parameters:
    ///   - clientID: names this message for ever; sending the same again yields the same acknowledgement.
    ///   - deliverAt: the server keeps the message until then.
    /// - Throws: as ``enqueue(_:to:kind:clientID:deliverAt:)`` and ``PendingSend/acknowledgement()``.
    @discardableResult
    public func send(
        _ body: String, to conversation: ConversationID, kind: EntryKind = .text, clientID: String = UUID().uuidString,
        deliverAt: Date? = nil
    ) async throws -> AckFrame {
        try await enqueue(body, to: conversation, kind: kind, clientID: clientID, deliverAt: deliverAt).acknowledgement()
    }

    /// Puts a message into the outbox. Messages of one conversation go out in the order in which `enqueue` returned, several at a time.
    /// - Throws: ``ApusError`` `invalid_argument` for an empty message or a bad `clientID`, `overloaded` when the outbox is full, `local_store`,
    ///   `not_logged_in`. Whatever the server says comes from ``PendingSend/acknowledgement()``.
    public func enqueue(
        _ body: String, to conversation: ConversationID, kind: EntryKind = .text, clientID: String = UUID().uuidString,
        deliverAt: Date? = nil
    ) async throws -> PendingSend { throw soon }

    /// What waits in the outbox of this client, in order.
    public func pendingSends() async throws -> [PendingSend] { throw soon }

    /// Moves this account's read mark forward, here at once and on the server as soon as there is a connection.
    public func markRead(_ conversation: ConversationID, through seq: Seq) async throws { throw soon }

    /// Tells the others that the user is typing. Sent at most every three seconds per conversation, and only when connected.
    public func typing(in conversation: ConversationID) async {}

    // MARK: Reading

    /// A page of the log from the server, of what this account may see.
    public func history(of conversation: ConversationID, from: Seq, limit: Int = 100) async throws -> EntryPage { throw soon }

    /// Entries of the local store in ascending order: the first `limit` from `from` on.
    public func localHistory(of conversation: ConversationID, from: Seq = 1, limit: Int = 100) async throws -> [Entry] { throw soon }

    /// The last `limit` entries of the local store before `before`, in ascending order.
    public func localHistory(of conversation: ConversationID, before: Seq, limit: Int = 100) async throws -> [Entry] { throw soon }

    /// Text messages of the local store that contain `keyword` (ASCII case ignored), newest first.
    public func search(_ keyword: String, in conversation: ConversationID? = nil, limit: Int = 50) async throws -> [Entry] { throw soon }

    /// Every conversation that the local store knows, by id.
    public func localConversations() async throws -> [LocalConversation] { throw soon }
    public func localConversation(_ id: ConversationID) async throws -> LocalConversation? { throw soon }

    /// How far the others are, as far as this client was told.
    public func marks(of conversation: ConversationID) async throws -> [ReadMarks] { throw soon }

    private var soon: ApusError { ApusError(.internal, "not in this build") }
}
