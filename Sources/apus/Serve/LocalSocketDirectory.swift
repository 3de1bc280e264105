import ApusCore
import ApusProtocol
import ApusServer

/// The socket node of a process that holds all roles: itself.
struct LocalSocketDirectory: SocketDirectory {
    let webSocket: BoundAddress
    let tcp: BoundAddress
    /// Empty: what is bound.
    let advertisedURL: String
    let advertisedTCP: String

    func socketNode(for account: AccountID, requestedHost: String?) async throws -> SocketNode {
        let webSocket = reachable(try await webSocket.value, requestedHost)
        let tcp = reachable(try await tcp.value, requestedHost)
        return SocketNode(
            url: advertisedURL.isEmpty ? "ws://\(webSocket)\(HTTPPath.webSocket)" : advertisedURL,
            tcp: advertisedTCP.isEmpty ? tcp.description : advertisedTCP)
    }

    /// A listener on every address, or on this machine only, is reached under the name that the client used for the API.
    private func reachable(_ address: NetworkAddress, _ requestedHost: String?) -> NetworkAddress {
        let isGeneral = ["0.0.0.0", "::", "127.0.0.1", "::1"].contains(address.host)
        guard isGeneral, let requestedHost else { return address }
        return NetworkAddress(host: requestedHost, port: address.port)
    }
}
