import Foundation
import Logging

/// How a ``Client`` reaches its server, where it keeps what it knows, and how patient it is.
public struct ClientConfiguration: Sendable {
    /// Where a client keeps its login, its entries and cursors, and the messages that wait to be sent.
    public enum Storage: Sendable, Hashable {
        /// Nothing outlives the client.
        case memory
        /// A directory of one account, made if it is not there. Several clients, also in several processes, may share it.
        case directory(URL)
    }

    /// The carrier of the socket protocol.
    public enum Transport: Sendable, Hashable, CaseIterable {
        /// WebSocket with protobuf frames. The default.
        case webSocket
        /// WebSocket with JSON frames: easier to read on the wire.
        case webSocketJSON
        /// TCP with protobuf frames. When the server's address is `https` and its TCP is not encrypted, this is refused.
        case tcp
    }

    /// Whose word about the server's certificate is taken.
    public enum TrustRoots: Sendable, Hashable {
        /// The authorities that the system knows.
        case system
        /// Only the certificates in this file (PEM): an authority of one's own.
        case file(URL)
    }

    /// How much of a conversation that is new to this client is fetched by itself.
    public enum Backfill: Sendable, Hashable {
        case everything
        /// Only so many entries before the head; older ones through ``Client/history(of:from:limit:)``.
        case last(UInt64)
    }

    /// The server's HTTP address, `http` or `https`.
    public var server: URL
    public var storage: Storage
    public var transport: Transport
    /// For HTTP, WebSocket and TCP alike. Read when a client is made.
    public var trustRoots = TrustRoots.system
    /// What the user sees in the list of devices.
    public var deviceName: String
    /// `ios`, `macos`, `linux`, `terminal` …: compared by the server's device policy.
    public var platform: String
    /// Name and version of the program, for the server's logs.
    public var clientVersion: String
    /// Whether this client also sends what another client of the same directory left in the outbox when it ended.
    public var adoptsOutbox = true
    public var backfill = Backfill.everything
    public var backoff = Backoff.Policy()
    /// For a connection to be made, TLS and upgrade included.
    public var connectTimeout: Duration = .seconds(10)
    /// For an answer, over HTTP and over the socket.
    public var requestTimeout: Duration = .seconds(15)
    /// A message that is not acknowledged for so long makes the client connect anew and send it again.
    public var acknowledgementTimeout: Duration = .seconds(30)
    /// Events that wait for a consumer; past that it gets ``ClientEvent/missedEvents``.
    public var eventBufferMax = 4_096
    /// Messages in the outbox; a send past that is refused with `overloaded`.
    public var outboxMax = 10_000
    /// Marks of delivery are sent at most once per conversation in this time; nil: never.
    public var deliveredMarkInterval: Duration? = .milliseconds(300)
    /// Never gets a token, a password or the body of a message.
    public var logger: Logger

    public init(
        server: URL, storage: Storage, transport: Transport = .webSocket, deviceName: String = Self.hostName,
        platform: String = Self.systemPlatform, clientVersion: String = "apus-swift/0.1.0"
    ) {
        self.server = server
        self.storage = storage
        self.transport = transport
        self.deviceName = deviceName
        self.platform = platform
        self.clientVersion = clientVersion
        var logger = Logger(label: "apus.client")
        logger.logLevel = .warning
        self.logger = logger
    }

    public static var hostName: String { ProcessInfo.processInfo.hostName }

    public static var systemPlatform: String {
        #if os(iOS)
        "ios"
        #elseif os(macOS)
        "macos"
        #else
        "linux"
        #endif
    }
}
