import ApusChaos
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// A story that is played against a real server process of its own.
struct Play {
    let server: ServerProcess
    let endpoints: ServerProcess.Endpoints

    /// Starts a server with these settings, plays the story, and stops the server whatever happens.
    static func run<Result>(
        _ settings: [String] = [], drainSeconds: Int = 0, binary: URL? = nil, isolation: isolated (any Actor)? = #isolation,
        _ story: (Play) async throws -> Result
    ) async throws -> Result {
        // A cheap password hash: no story is about it.
        let options = try ServerProcess.Options(
            binary: binary, arguments: ["--drain-seconds", "\(drainSeconds)"] + settings)
        return try await ServerProcess.with(options) { server, endpoints in
            try await story(Play(server: server, endpoints: endpoints))
        }
    }

    /// A new account of this name.
    func register(_ name: String) async throws -> Person {
        let profile: AccountProfile = try await call(
            .POST, HTTPPath.accounts, json: RegisterRequest(username: name, password: Person.password))
        return Person(play: self, name: name, id: profile.id)
    }

    /// A new account that is logged in and connected over WebSocket.
    func connect(_ name: String) async throws -> (person: Person, device: Login, socket: PlaySocket) {
        let person = try await register(name)
        let device = try await person.login()
        return (person, device, try await device.connect())
    }

    // MARK: HTTP

    struct Refusal: Error, CustomStringConvertible {
        var status: UInt
        var body: String
        var description: String { "HTTP \(status): \(body)" }
    }

    func call<Answer: Decodable>(_ method: HTTPMethod, _ path: String, token: String? = nil, json: (any Encodable)? = nil) async throws
        -> Answer
    {
        try JSONDecoder().decode(
            Answer.self, from: await send(method, path, token: token, body: try json.map { try JSONEncoder().encode($0) }))
    }

    @discardableResult
    func send(
        _ method: HTTPMethod, _ path: String, token: String? = nil, body: Data? = nil, contentType: String = "application/json"
    ) async throws -> Data {
        var request = HTTPClientRequest(url: "http://\(endpoints.http)\(path)")
        request.method = method
        if let token { request.headers.add(name: "authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.add(name: "content-type", value: contentType)
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
        let answer = Data(try await response.body.collect(upTo: 1 << 20).readableBytesView)
        guard (200..<300).contains(response.status.code) else {
            throw Refusal(status: response.status.code, body: String(decoding: answer, as: UTF8.self))
        }
        return answer
    }
}

/// Somebody with an account.
struct Person {
    static let password = "correct horse battery"

    let play: Play
    let name: String
    let id: AccountID

    func login(platform: String = "terminal") async throws -> Login {
        let form = "grant_type=password&username=\(name)&password=correct%20horse%20battery&device_name=play&platform=\(platform)"
        let answer = try await play.send(
            .POST, HTTPPath.token, body: Data(form.utf8), contentType: "application/x-www-form-urlencoded")
        return Login(play: play, tokens: try JSONDecoder().decode(TokenResponse.self, from: answer))
    }
}

/// A device that is logged in.
struct Login {
    let play: Play
    let tokens: TokenResponse

    var token: String { tokens.accessToken }

    /// A session on the socket, welcomed.
    func connect(_ carrier: PlaySocket.Carrier = .webSocket(.protobuf)) async throws -> PlaySocket {
        let socket = try await PlaySocket.open(carrier, play.endpoints)
        try await socket.hello(token)
        return socket
    }

    func direct(with person: Person) async throws -> ConversationID {
        let request = NewConversationRequest(kind: .direct, members: [person.id])
        let info: ConversationInfo = try await play.call(.POST, HTTPPath.conversations, token: token, json: request)
        return info.id
    }

    func group(_ title: String, _ people: [Person]) async throws -> ConversationID {
        let request = NewConversationRequest(kind: .group, title: title, members: people.map(\.id))
        let info: ConversationInfo = try await play.call(.POST, HTTPPath.conversations, token: token, json: request)
        return info.id
    }

    /// The whole log as this device may see it.
    func history(of conversation: ConversationID) async throws -> [EntryInfo] {
        var entries: [EntryInfo] = []
        var from: Seq = 1
        while true {
            let page: EntryPage = try await play.call(
                .GET, "\(HTTPPath.conversations)/\(conversation)/entries?from=\(from)&limit=200", token: token)
            entries += page.entries
            guard page.through < page.head else { return entries }
            from = page.through + 1
        }
    }
}
