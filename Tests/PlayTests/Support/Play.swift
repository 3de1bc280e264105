import ApusChaos
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// Where a story is played. It must not be able to tell.
enum Stage: CaseIterable, CustomTestStringConvertible {
    /// One process with all roles, on SQLite.
    case single
    /// A process for each role and two for sockets, on MariaDB, Redis and ZooKeeper; people who connect get a socket node in turn.
    case cluster

    var testDescription: String {
        switch self {
        case .single: "one process"
        case .cluster: "a cluster"
        }
    }
}

/// A story that is played against real server processes of its own.
struct Play {
    private enum Ground {
        case single(ServerProcess)
        case cluster(LocalCluster)
    }

    /// How servers end.
    enum End: CaseIterable { case terminated, killed }

    private let ground: Ground
    /// Where HTTP goes to: `HOST:PORT`.
    let http: String

    private init(ground: Ground, http: String) {
        self.ground = ground
        self.http = http
    }

    /// On servers that a story has started itself.
    /// - Parameters:
    ///   - server: the one that can be restarted.
    ///   - endpoints: where HTTP goes to.
    init(server: ServerProcess, endpoints: ServerProcess.Endpoints) { self.init(ground: .single(server), http: endpoints.http) }

    /// Starts the servers with these settings, plays the story, and stops them whatever happens.
    static func run<Result: Sendable>(
        on stage: Stage, _ settings: [String] = [], drainSeconds: Int = 0, isolation: isolated (any Actor)? = #isolation,
        _ story: (Play) async throws -> Result
    ) async throws -> Result {
        switch stage {
        case .single: try await single(settings, drainSeconds: drainSeconds) { play, _ in try await story(play) }
        case .cluster: try await cluster(settings, drainSeconds: drainSeconds) { play, _ in try await story(play) }
        }
    }

    /// For a story about one process: its files, its listeners.
    static func single<Result: Sendable>(
        _ settings: [String] = [], drainSeconds: Int = 0, binary: URL? = nil, isolation: isolated (any Actor)? = #isolation,
        _ story: (Play, ServerProcess) async throws -> Result
    ) async throws -> Result {
        let options = try ServerProcess.Options(
            binary: binary, arguments: ["--drain-seconds", "\(drainSeconds)"] + settings)
        return try await ServerProcess.with(options) { server, endpoints in
            try await story(Play(ground: .single(server), http: endpoints.http), server)
        }
    }

    /// For a story about nodes: who is on which, what goes between them.
    static func cluster<Result: Sendable>(
        _ settings: [String] = [], drainSeconds: Int = 0, isolation: isolated (any Actor)? = #isolation,
        _ story: (Play, LocalCluster) async throws -> Result
    ) async throws -> Result {
        let options = try LocalCluster.Options(
            settings: LocalCluster.Options.withoutLimits + ["--drain-seconds", "\(drainSeconds)"] + settings,
            shared: SharedServersTrait.servers)
        return try await LocalCluster.with(options) { cluster in
            let play = Play(ground: .cluster(cluster), http: try await cluster.endpoints().http)
            do {
                return try await story(play, cluster)
            } catch {
                throw Failed(cause: error, log: cluster.logTail())
            }
        }
    }

    /// What a story failed with, and what the nodes said.
    private struct Failed: Error, CustomStringConvertible {
        var cause: any Error
        var log: String
        var description: String { "\(cause)\n\(log)" }
    }

    // MARK: Servers

    /// Ends all servers.
    func stop(_ end: End) async throws {
        switch (ground, end) {
        case (.single(let server), .terminated): try await server.terminate()
        case (.single(let server), .killed): await server.kill()
        case (.cluster(let cluster), .terminated): try await cluster.terminateNodes()
        case (.cluster(let cluster), .killed): await cluster.killNodes()
        }
    }

    /// Ends all servers and starts them again on the same data and ports.
    func restart(_ end: End) async throws {
        try await stop(end)
        switch ground {
        case .single(let server): try await server.start()
        case .cluster(let cluster): try await cluster.startNodes()
        }
    }

    /// A connection to the socket protocol on which nothing has been said yet: to the node that this device is sent to, or, without a
    /// token, to any.
    func open(_ carrier: PlaySocket.Carrier, token: String? = nil) async throws -> PlaySocket {
        guard let token else {
            switch ground {
            case .single(let server): return try await .open(carrier, try #require(await server.endpoints))
            case .cluster(let cluster): return try await .open(carrier, try await cluster.endpoints())
            }
        }
        let node = try await socketNode(token: token)
        let address = carrier == .tcp ? node.tcp : URL(string: node.url).map { "\($0.host() ?? ""):\($0.port ?? 0)" }
        guard let address else { throw PlaySocket.Unexpected(description: "\(node) has no listener for \(carrier)") }
        return try await .open(carrier, address: address)
    }

    /// Where this device is sent to. A client that is told that there is no node yet asks again.
    private func socketNode(token: String) async throws -> SocketNode {
        while true {
            do {
                return try await call(.GET, HTTPPath.socketNode, token: token)
            } catch let refusal as Refusal where refusal.status == 503 {
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    // MARK: People

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
        var request = HTTPClientRequest(url: "http://\(http)\(path)")
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
        let socket = try await play.open(carrier, token: token)
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
