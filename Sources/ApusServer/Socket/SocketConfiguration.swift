import ApusCore
import ApusProtocol

/// The values of the socket role.
public struct SocketConfiguration: Sendable {
    public var webSocket: NetworkAddress
    /// Nil: no TCP carrier.
    public var tcp: NetworkAddress?
    /// A client that is quiet for this long sends a ping; after two and a half times as long its connection is closed.
    public var heartbeatSeconds = 30
    /// From the first byte to a valid `hello`.
    public var handshakeSeconds = 10
    /// Of one message with its envelope, once the session is open.
    public var frameBytesMax = 65_536
    /// Of one message before `hello` was accepted.
    public var helloBytesMax = 8192
    /// Requests of one session that may wait for their answers; more are not read from the socket.
    public var inFlightMax = 256
    /// Bytes that may wait to be written to one connection before it counts as too slow.
    public var outboundBytesMax = 1_048_576
    public var connectionsMax = 100_000
    /// Connections of one address that are not logged in yet.
    public var handshakesPerAddressMax = 512
    /// Over which `goaway` is spread when the node leaves.
    public var drainSeconds = 2

    public init(webSocket: NetworkAddress, tcp: NetworkAddress?) {
        self.webSocket = webSocket
        self.tcp = tcp
    }

    var gateLimits: ConnectionGate.Limits {
        .init(connectionsMax: connectionsMax, handshakesPerAddressMax: handshakesPerAddressMax)
    }
}
