import ApusChaos
import ApusProtocol
import Foundation

/// What a story about nodes looks at and does to them.
extension LocalCluster {
    /// A socket node, by its place.
    nonisolated func socketNode(_ index: Int) -> Node { nodes(of: "socket")[index] }

    /// Who is where, as the nodes told Redis: session to `device:node` of one account.
    func routes(of person: Person) async throws -> [String: String] {
        let fields = try await redis(["HGETALL", Self.routesKey(of: person)])
        return Dictionary(
            uniqueKeysWithValues: stride(from: 0, to: fields.count - 1, by: 2).map { (fields[$0], fields[$0 + 1]) })
    }

    /// The nodes on which this account has sessions.
    func nodes(of person: Person) async throws -> Set<String> {
        Set(try await routes(of: person).values.compactMap { $0.split(separator: ":").last.map(String.init) })
    }

    /// A socket node's present id, which changes with each of its lives: somebody connects to it and looks.
    func id(of node: Node, in play: Play) async throws -> String {
        let (person, _, socket) = try await play.connect("probe-\(UUID().uuidString.prefix(8).lowercased())", to: node)
        let ids = try await nodes(of: person)
        try await socket.close()
        guard let id = ids.first else { throw PlaySocket.Unexpected(description: "\(node.name) wrote no route") }
        return id
    }

    /// All nodes that live, as Redis knows them.
    func liveNodes() async throws -> Set<String> { Set(try await redis(["ZRANGE", "apus:nodes", "0", "-1"])) }

    /// Puts other values into the one route that this account has.
    func misroute(_ person: Person, to change: Misroute) async throws {
        let key = Self.routesKey(of: person)
        for (session, value) in try await routes(of: person) {
            let device = value.split(separator: ":")[0]
            switch change {
            case .deleted: _ = try await redis(["HDEL", key, session])
            case .node(let node): _ = try await redis(["HSET", key, session, "\(device):\(node)"])
            }
        }
    }

    enum Misroute: Sendable {
        case deleted
        case node(String)
    }

    /// Asks until it is so; the time limit of the test ends it. What nodes tell Redis by and by has no event.
    nonisolated func wait(until isSo: () async throws -> Bool) async throws {
        while try await !isSo() { try await Task.sleep(for: .milliseconds(100)) }
    }

    private func redis(_ command: [String]) async throws -> [String] {
        try await RedisServer.ask(port: redisPort, command).split(separator: "\n").map(String.init)
    }

    private static func routesKey(of person: Person) -> String { "apus:routes:{\(person.id.rawValue % 256)}:\(person.id)" }
}

extension Login {
    /// A session on this node, welcomed.
    func connect(to node: LocalCluster.Node, _ carrier: PlaySocket.Carrier = .webSocket(.protobuf)) async throws -> PlaySocket {
        guard let endpoints = await node.process.endpoints else { throw PlaySocket.Unexpected(description: "\(node.name) does not run") }
        let socket = try await PlaySocket.open(carrier, endpoints)
        try await socket.hello(token)
        return socket
    }
}

extension Play {
    /// A new account, logged in and connected to this node.
    func connect(_ name: String, to node: LocalCluster.Node) async throws -> (person: Person, device: Login, socket: PlaySocket) {
        let person = try await register(name)
        let device = try await person.login()
        return (person, device, try await device.connect(to: node))
    }
}

extension PlaySocket {
    /// Entries up to the one with this text.
    func entries(through text: String) async throws -> [Entry] {
        var entries: [Entry] = []
        repeat { entries.append(try await nextEntry()) } while entries.last?.body != text
        return entries
    }

    /// The texts up to this one that others said, in the order in which they came.
    func entries(through text: String, but person: Person) async throws -> [String] {
        try await entries(through: text).filter { $0.kind == .text && $0.sender != person.id }.map(\.body)
    }

    /// The next frame that this makes something of.
    func next<Value>(_ pick: (WireServerFrame.OneOf_Body) -> Value?) async throws -> Value {
        while true {
            switch try await next() {
            case .frame(.other(let frame)):
                if let value = frame.body.flatMap(pick) { return value }
            case .frame: continue
            case .closed(let code): throw Unexpected(description: "closed with \(String(describing: code)) instead of a frame")
            }
        }
    }
}
