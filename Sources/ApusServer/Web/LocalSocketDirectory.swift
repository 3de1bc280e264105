import ApusCore
import ApusProtocol

/// The socket node of a process that runs every role: itself.
public struct LocalSocketDirectory: SocketDirectory {
    /// What the process listens on.
    public struct Listeners: Sendable {
        public var webSocket: NetworkAddress
        public var tcp: NetworkAddress?

        public init(webSocket: NetworkAddress, tcp: NetworkAddress?) {
            self.webSocket = webSocket
            self.tcp = tcp
        }
    }

    private let publicNode: SocketNode?
    private let isEncrypted: Bool
    private let listeners: @Sendable () async throws -> Listeners

    /// - Parameters:
    ///   - publicNode: what clients are told where the process is behind a proxy or a name; nil: the listeners' addresses.
    ///   - isEncrypted: whether the listeners have a certificate.
    ///   - listeners: waits until they are bound.
    public init(
        publicNode: SocketNode? = nil, isEncrypted: Bool = false, listeners: @escaping @Sendable () async throws -> Listeners
    ) {
        self.publicNode = publicNode
        self.isEncrypted = isEncrypted
        self.listeners = listeners
    }

    public func socketNode(for account: AccountID, requestedHost: String?, avoiding avoided: String?) async throws -> SocketNode {
        if let publicNode { return publicNode }
        let listeners = try await listeners()
        let webSocket = Self.reachable(listeners.webSocket, requestedHost)
        let tcp = listeners.tcp.map { Self.reachable($0, requestedHost) }
        return SocketNode(
            url: "\(isEncrypted ? "wss" : "ws")://\(webSocket)\(HTTPPath.webSocket)", tcp: tcp?.description, isTCPEncrypted: isEncrypted)
    }

    /// An unspecified or loopback address means nothing to a client elsewhere; the name under which it found us does.
    private static func reachable(_ address: NetworkAddress, _ requestedHost: String?) -> NetworkAddress {
        let isVague = address.isUnspecified || ["::1", "localhost"].contains(address.host) || address.host.hasPrefix("127.")
        guard isVague, let requestedHost else { return address }
        return NetworkAddress(host: requestedHost, port: address.port)
    }
}
