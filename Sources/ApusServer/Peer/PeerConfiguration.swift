import ApusCore
import ApusProtocol

/// The values of the links between nodes.
public struct PeerConfiguration: Sendable {
    public var listen: NetworkAddress
    /// Nil: plain TCP, for a network where nobody else is.
    public var certificate: ClusterCertificate?
    public var connectMilliseconds = 2000
    /// From the first byte to a valid `hello`, and from `hello` to `welcome`.
    public var handshakeSeconds = 5
    /// Of one frame before `hello` was accepted.
    public var helloBytesMax = 8192
    /// Of one frame afterwards.
    public var frameBytesMax = 1 << 20
    /// About as much goes into one batch. Less than a frame.
    public var batchBytesMax = 256 << 10
    /// Sent and not acknowledged yet, per peer.
    public var windowBytesMax = 1 << 20
    /// May wait to be sent, per peer; the rest is dropped.
    public var queueBytesMax = 8 << 20
    /// A peer that acknowledges nothing for so long is given up and connected to anew.
    public var acknowledgeSeconds = 5
    /// A link that has nothing to say for so long says that; the listener gives it up after three times as long.
    public var heartbeatSeconds = 10
    public var connectionsMax = 1100
    /// Connections that have not said a valid `hello` yet.
    public var handshakesMax = 64
    /// Between two attempts to connect, at most.
    public var retryMillisecondsMax = 5000

    public init(listen: NetworkAddress, certificate: ClusterCertificate? = nil) {
        self.listen = listen
        self.certificate = certificate
    }
}
