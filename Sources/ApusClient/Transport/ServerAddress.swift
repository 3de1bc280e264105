import ApusProtocol
import Foundation

/// Where and how to open the socket.
struct ServerAddress: Sendable, Hashable {
    enum Carrier: Sendable, Hashable {
        case webSocket(FrameEncoding, path: String)
        case tcp
    }

    var host: String
    var port: Int
    var isEncrypted: Bool
    var carrier: Carrier

    var encoding: FrameEncoding {
        switch carrier {
        case .webSocket(let encoding, _): encoding
        case .tcp: .protobuf
        }
    }

    /// - Parameters:
    ///   - node: the server's answer to "where?".
    ///   - server: the HTTP server that gave it; if that is encrypted, so is the socket, or the access token would go out in clear.
    /// - Throws: ``ApusError`` `bad_answer`, `invalid_argument`.
    init(_ node: SocketNode, transport: ClientConfiguration.Transport, server: URL) throws {
        let mustEncrypt = server.scheme?.lowercased() == "https"
        switch transport {
        case .tcp:
            guard node.isTCPEncrypted || !mustEncrypt else {
                throw ApusError(.invalidArgument, "the server's TCP is not encrypted; use WebSocket with an https server")
            }
            guard let tcp = node.tcp else { throw ApusError(.invalidArgument, "the server does not listen on TCP") }
            guard let colon = tcp.lastIndex(of: ":"), let port = Int(tcp[tcp.index(after: colon)...]) else {
                throw ApusError(.badAnswer, "\(tcp) is not host:port")
            }
            let host = tcp[..<colon].trimmingPrefix("[")
            self.init(
                host: String(host.hasSuffix("]") ? host.dropLast() : host), port: port,
                isEncrypted: node.isTCPEncrypted, carrier: .tcp)
        case .webSocket, .webSocketJSON:
            guard let url = URLComponents(string: node.url), let scheme = url.scheme?.lowercased(), ["ws", "wss"].contains(scheme),
                let host = url.host, !host.isEmpty
            else { throw ApusError(.badAnswer, "\(node.url) is not a WebSocket address") }
            guard scheme == "wss" || !mustEncrypt else {
                throw ApusError(.badAnswer, "an https server must give out a wss address")
            }
            let path = (url.percentEncodedPath.isEmpty ? "/" : url.percentEncodedPath) + (url.percentEncodedQuery.map { "?\($0)" } ?? "")
            self.init(
                host: host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host, port: url.port ?? (scheme == "wss" ? 443 : 80),
                isEncrypted: scheme == "wss",
                carrier: .webSocket(transport == .webSocketJSON ? .json : .protobuf, path: path))
        }
    }

    private init(host: String, port: Int, isEncrypted: Bool, carrier: Carrier) {
        self.host = host
        self.port = port
        self.isEncrypted = isEncrypted
        self.carrier = carrier
    }
}
