import ApusProtocol
import Foundation
import NIOCore
import NIOPosix

/// A connection to an Apus server, and everything an app needs to chat through it.
///
/// A client keeps entries, cursors and outgoing messages in its local store, connects again by itself, and fetches what it
/// missed. Entries reach ``events()`` once each and in order per conversation, and are in the local store before that.
///
/// ```swift
/// let client = try Client(configuration: ClientConfiguration(server: url, storage: .directory(directory)))
/// try await client.login(username: "ada", password: password)
/// await client.connect()
/// ```
///
/// One task does all the work of a connected client. It begins with ``connect()`` and keeps the client alive until ``close()``, which every
/// owner calls in the end.
public actor Client {
    typealias Machine = ConnectionStateMachine<SystemRandomNumberGenerator>

    struct MessageName: Hashable {
        var conversation: ConversationID
        var clientID: String
    }

    /// A question over the socket that waits for its answer.
    struct Request {
        enum Kind {
            case sync
            case pull(ConversationID)
        }

        var kind: Kind
        var deadline: Duration
    }

    public nonisolated let configuration: ClientConfiguration
    nonisolated let hub: EventHub
    nonisolated let store: LocalStore
    nonisolated let logins: LoginStore
    nonisolated let owner: OutboxOwner
    nonisolated let api: APIClient
    nonisolated let tokens: TokenSource
    nonisolated let dialer: Dialer
    private let startedAt = ContinuousClock.now

    // The task of this client, see ``drive()``.
    var driver: Task<Void, Never>?
    var alarm: Alarm
    var isClosed = false

    // The connection.
    var machine: Machine
    var announced = ConnectionState.disconnected
    var link: Link?
    var limits: ServerLimits?
    var lastRef: UInt32 = 0
    var requests: [UInt32: Request] = [:]
    /// Pulls that were refused for the time being.
    var pausedPulls: [ConversationID: Duration] = [:]
    var tokenInUse: String?
    /// The `url` of the node that was dialled last.
    var lastNode: String?

    // What goes over it.
    var login: LoginInfo?
    var isPrepared = false
    var inbox: Inbox
    var syncToken = ""
    var outbox = Outbox()
    var hasAdopted = false
    var outcomes: [MessageName: SendOutcome] = [:]
    /// When a message was last sent with none in flight, or an answer to one came.
    var progressAt: Duration = .zero
    var marks: OutgoingMarks
    var typedAt: [ConversationID: Duration] = [:]
    var knownAccounts: [AccountID: (profile: AccountProfile, at: Duration)] = [:]

    /// Opens the local store.
    /// - Throws: ``ApusError`` `local_store` when it cannot be opened, `invalid_argument` when the configuration makes no sense.
    public init(configuration: ClientConfiguration) throws {
        guard ["http", "https"].contains(configuration.server.scheme?.lowercased()), configuration.server.host() != nil else {
            throw ApusError(.invalidArgument, "the server's address begins with http:// or https://")
        }
        let directory: URL? =
            switch configuration.storage {
            case .memory: nil
            case .directory(let url): url
            }
        self.configuration = configuration
        hub = EventHub(capacity: configuration.eventBufferMax)
        store = try LocalStore(directory: directory)
        logins = LoginStore(directory: directory)
        do {
            owner = try OutboxOwner(directory: directory?.appending(path: "owners"))
            try owner.removeDeadFiles()
        } catch {
            throw ApusError(.localStore, "the local store cannot be used", cause: error)
        }
        api = APIClient(server: configuration.server, timeout: configuration.requestTimeout)
        tokens = TokenSource(store: logins, api: api)
        dialer = Dialer(timeout: configuration.connectTimeout)
        alarm = Alarm(eventLoop: dialer.group.next())
        machine = Machine(
            helloTimeout: configuration.requestTimeout, backoff: configuration.backoff, random: SystemRandomNumberGenerator())
        inbox = Inbox(readers: [:], backfill: configuration.backfill)
        marks = OutgoingMarks(deliveredInterval: configuration.deliveredMarkInterval)
        login = try logins.load()?.info
    }

    // MARK: Connection

    /// Events from now on. Each call makes a consumer of its own.
    public nonisolated func events() -> ClientEvents { hub.subscribe() }

    public var connectionState: ConnectionState { machine.connectionState }

    /// Starts to connect and returns; ``ClientEvent/connection(_:)`` tells how it goes. Does nothing when it is under way; when the client
    /// waits before its next attempt, it tries at once (call it when the network came back or the app came to the foreground).
    public func connect() {
        guard !isClosed else { return }
        machine.connect()
        announce()
        alarm.ring()
        startDriver()
    }

    private func startDriver() {
        guard driver == nil, !isClosed, machine.openRequest != nil else { return }
        // The one task that outlives the call that made it: the client owns it and `close` ends it.
        driver = Task { await drive() }
    }

    /// Disconnects, ends every ``events()`` sequence and gives the outbox free for other clients of the directory. What waits in
    /// the outbox stays there. The client cannot be used afterwards.
    public func close() async {
        guard !isClosed else { return }
        isClosed = true
        await disconnect()
        failOutcomes(ApusError(.clientClosed, "the client was closed"))
        hub.finish()
        owner.release()
        do { try store.close() } catch { configuration.logger.warning("the local store was not closed", metadata: ["error": "\(error)"]) }
    }

    /// Ends the connection and the task, and returns when both are gone.
    func disconnect() async {
        apply(machine.close())
        let driver = driver
        driver?.cancel()
        await driver?.value
        // Whoever asked to connect meanwhile found the old task still there.
        startDriver()
    }

    func checkOpen() throws {
        if isClosed { throw ApusError(.clientClosed, "the client is closed") }
    }

    func failOutcomes(_ error: ApusError) {
        for outcome in outcomes.values { outcome.complete(.failure(error)) }
        outcomes = [:]
    }

    // MARK: Time

    /// Since this client was made.
    var now: Duration { ContinuousClock.now - startedAt }
}

/// What a server lets one session do.
struct ServerLimits: Sendable {
    var frameBytesMax: Int
    var bodyBytesMax: Int
    var inFlightMax: Int

    /// A server that says nothing of a limit has none.
    init(_ welcome: WireWelcome) {
        frameBytesMax = welcome.frameBytesMax == 0 ? .max : Int(welcome.frameBytesMax)
        bodyBytesMax = welcome.bodyBytesMax == 0 ? .max : Int(welcome.bodyBytesMax)
        inFlightMax = welcome.inFlightMax == 0 ? 64 : Int(welcome.inFlightMax)
    }
}
