import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOFoundationCompat
import NIOHTTP1

/// The few calls of the HTTP API that a load needs before it starts.
struct BenchAPI: Sendable {
    struct Refusal: Error, CustomStringConvertible {
        var status: Int
        var body: String
        var description: String { "HTTP \(status): \(body)" }
    }

    private static let attemptsMax = 8
    private static let answerBytesMax = 8 << 20

    let server: String
    private let http = HTTPClient.shared

    init(server: String) {
        self.server = server.hasSuffix("/") ? String(server.dropLast()) : server
    }

    func register(username: String, password: String) async throws {
        let body = try JSONEncoder().encode(RegisterRequest(username: username, password: password))
        _ = try await call(.POST, HTTPPath.accounts, body: body)
    }

    func login(username: String, password: String) async throws -> TokenResponse {
        try await token([
            "grant_type": "password", "username": username, "password": password, "device_name": "apus bench", "platform": "bench",
        ])
    }

    func refresh(_ refreshToken: String) async throws -> TokenResponse {
        try await token(["grant_type": "refresh_token", "refresh_token": refreshToken])
    }

    /// Throws a ``Refusal`` of status 401 when the server does not take the token.
    func check(token: String) async throws { _ = try await call(.GET, HTTPPath.account, token: token) }

    func conversation(_ request: NewConversationRequest, token: String) async throws -> ConversationInfo {
        try decode(await call(.POST, HTTPPath.conversations, token: token, body: try JSONEncoder().encode(request)))
    }

    func conversations(token: String, after: ConversationID?) async throws -> ConversationList {
        let query = after.map { "?after=\($0)" } ?? ""
        return try decode(await call(.GET, HTTPPath.conversations + query, token: token))
    }

    func invite(_ accounts: [AccountID], to conversation: ConversationID, token: String) async throws {
        let path = "\(HTTPPath.conversations)/\(conversation)/members"
        _ = try await call(.POST, path, token: token, body: try JSONEncoder().encode(InviteRequest(accounts: accounts)))
    }

    /// Where a session connects, by the server's own word.
    func node(carrier: BenchCarrier, token: String, avoiding avoided: String? = nil) async throws -> BenchNode {
        let query = avoided.map { "?\(HTTPPath.avoidedNode)=\(Self.escaped($0))" } ?? ""
        let node: SocketNode = try decode(await call(.GET, HTTPPath.socketNode + query, token: token))
        switch carrier {
        case .websocket:
            guard let url = URLComponents(string: node.url), let host = url.host, url.scheme == "ws" else {
                throw BenchFailure("the load generator speaks ws:// only, not \(node.url)")
            }
            return BenchNode(carrier: carrier, host: host, port: url.port ?? 80, path: url.path.isEmpty ? "/" : url.path, url: node.url)
        case .tcp:
            guard let address = node.tcp, let url = URLComponents(string: "tcp://\(address)"), let host = url.host, let port = url.port
            else { throw BenchFailure("the server does not listen on TCP") }
            return BenchNode(carrier: carrier, host: host, port: port, path: "", url: node.url)
        }
    }

    /// All socket nodes that the server has to offer: those that it names when it is asked again and again.
    func nodes(carrier: BenchCarrier, tokens: some Collection<String>) async throws -> [BenchNode] {
        var nodes: [BenchNode] = []
        for token in tokens.prefix(Self.questionsMax) {
            let node = try await node(carrier: carrier, token: token, avoiding: nodes.last?.url)
            if !nodes.contains(node) { nodes.append(node) }
        }
        return nodes.sorted { ($0.host, $0.port) < ($1.host, $1.port) }
    }

    private static let questionsMax = 32

    private static func escaped(_ text: String) -> String {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        return text.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
    }

    private func token(_ form: [String: String]) async throws -> TokenResponse {
        let text = form.map { "\($0)=\(Self.escaped($1))" }.joined(separator: "&")
        return try decode(
            await call(.POST, HTTPPath.token, contentType: "application/x-www-form-urlencoded", body: Data(text.utf8)))
    }

    private func decode<Answer: Decodable>(_ data: Data) throws -> Answer { try JSONDecoder().decode(Answer.self, from: data) }

    /// One call, again with growing pauses while the server says that it has too much to do.
    private func call(
        _ method: HTTPMethod, _ path: String, token: String? = nil, contentType: String = "application/json", body: Data? = nil
    ) async throws -> Data {
        var request = HTTPClientRequest(url: server + path)
        request.method = method
        if let token { request.headers.add(name: "authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.add(name: "content-type", value: contentType)
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        var pause = Duration.milliseconds(200)
        for attempt in 1... {
            let response = try await http.execute(request, timeout: .seconds(60))
            let answer = Data(buffer: try await response.body.collect(upTo: Self.answerBytesMax))
            switch response.status.code {
            case 200..<300: return answer
            case 429 where attempt < Self.attemptsMax, 503 where attempt < Self.attemptsMax:
                let asked = response.headers.first(name: "retry-after").flatMap(Int.init).map(Duration.seconds)
                try await Task.sleep(for: min(asked ?? pause, .seconds(30)))
                pause *= 2
            default: throw Refusal(status: Int(response.status.code), body: String(decoding: answer.prefix(500), as: UTF8.self))
            }
        }
        throw BenchFailure("unreachable: the last attempt returns or throws")
    }
}
