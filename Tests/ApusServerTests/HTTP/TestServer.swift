import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import ServiceLifecycle
import Testing

@testable import ApusServer

/// A clock that stands still until a test moves it.
final class TestClock: WallClock {
    private let time: NIOLockedValueBox<Timestamp>

    init(_ milliseconds: Int64 = 1_800_000_000_000) { time = NIOLockedValueBox(Timestamp(milliseconds: milliseconds)) }

    var now: Timestamp { time.withLockedValue { $0 } }

    func advance(_ duration: Duration) { time.withLockedValue { $0 = $0 + duration } }
}

/// Remembers which sessions it was told to close.
final class ClosedSessions: SessionControl {
    struct Order: Hashable {
        var device: DeviceID
        var account: AccountID
        var code: CloseCode
    }

    private let orders = NIOLockedValueBox<[Order]>([])

    var all: [Order] { orders.withLockedValue { $0 } }
    var devices: Set<DeviceID> { Set(all.map(\.device)) }

    func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws {
        orders.withLockedValue { $0 += devices.map { Order(device: $0, account: account, code: code) } }
    }
}

struct NoHandover: Handover {
    func handOver(_ batch: [AppendResult]) {}
    func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {}
    func repair(_ head: ConversationHead, audience: Audience) {}
}

/// Keeps every line of a log, of any level.
struct LogCapture: LogHandler {
    let lines: NIOLockedValueBox<[String]>
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        lines.withLockedValue { $0.append("\(event.level) \(event.message) \(all)") }
    }
}

/// What came back over HTTP.
struct Answer: Sendable {
    var status: Int
    var headers: HTTPHeaders
    var body: Data

    func json<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value { try JSONDecoder().decode(type, from: body) }

    /// The body as a problem document, with its content type checked.
    func problem() throws -> Problem {
        #expect(headers.first(name: "Content-Type") == "application/problem+json")
        let problem = try json(Problem.self)
        #expect(problem.status == status)
        return problem
    }

    /// The body as an OAuth error.
    func oauthError() throws -> OAuthErrorResponse {
        #expect(headers.first(name: "Cache-Control") == "no-store")
        return try json(OAuthErrorResponse.self)
    }
}

/// All HTTP roles in this process on a free port of the loopback address, over stores in memory.
struct TestServer: Sendable {
    let url: String
    let store: MemoryStore
    let routes: MemoryRouteTable
    let sessions: ClosedSessions
    let clock: TestClock
    let keys: KeyRing
    let verifier: JWTVerifier
    let readiness: Readiness
    let delivery: Delivery

    /// What a test may want to be different.
    struct Options: Sendable {
        var auth = AuthConfiguration()
        var http = HTTPConfiguration(host: "127.0.0.1", port: 0)
        var store = MemoryStore()
        /// Nil: a cheap one.
        var hasher: (any PasswordHasher)?
        var accounts: (any AccountStore)?
        var devices: (any DeviceStore)?
        var roles: [any HTTPRole] = []
        var schedule = KeySchedule()
        var socket = NetworkAddress(host: "127.0.0.1", port: 9000)
        var logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    }

    static func run(_ options: Options = Options(), _ body: @Sendable (TestServer) async throws -> Void) async throws {
        let (store, routes, sessions, clock) = (options.store, MemoryRouteTable(), ClosedSessions(), TestClock())
        let logger = options.logger
        let ids = IDGenerator(node: 1, clock: clock)
        let scrypt = ScryptPasswordHasher(parameters: .init(logRounds: 2), threads: 1)
        let keys = KeyRing(store: store, schedule: options.schedule, clock: clock, logger: logger)
        let verifier = JWTVerifier(keys: keys, clock: clock)
        let sequencer = Sequencer(log: store, handover: NoHandover(), ids: ids, clock: clock, logger: logger)
        let delivery = Delivery(
            sequencer: sequencer, log: store, conversations: store,
            scheduler: Scheduler(store: store, sequencer: sequencer, ids: ids, clock: clock, logger: logger),
            marks: MarkBuffer(conversations: store, handover: NoHandover(), logger: logger), handover: NoHandover(), clock: clock,
            rules: SendRules())
        let accounts = options.accounts ?? store
        let devices = options.devices ?? store
        let deviceCheck = DeviceCheck(devices: devices, clock: clock, timeout: .milliseconds(100))
        let socket = options.socket
        let departures = AccountDepartures(
            accounts: accounts, conversations: store, delivery: delivery, clock: clock, interval: .seconds(3600), logger: logger)
        let roles: [any HTTPRole] = [
            AuthRole(
                configuration: options.auth, accounts: accounts, devices: devices, routes: routes, sessions: sessions,
                arbiter: MemoryLoginArbiter(), hasher: options.hasher ?? scrypt, keys: keys, verifier: verifier, deviceCheck: deviceCheck,
                departures: departures,
                ids: ids, clock: clock, logger: logger),
            UserRole(accounts: accounts, routes: routes),
            WebRole(
                accounts: accounts, conversations: store, delivery: delivery,
                sockets: LocalSocketDirectory { .init(webSocket: socket, tcp: nil) }, ids: ids, clock: clock),
        ]
        let readiness = Readiness(.ready)
        let http = HTTPService(
            configuration: options.http, roles: roles + options.roles, verifier: verifier, deviceCheck: deviceCheck, readiness: readiness,
            logger: logger)
        let group = ServiceGroup(services: [departures, http, scrypt], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            do {
                let address = try await http.address.value
                try await body(
                    TestServer(
                        url: "http://\(address)", store: store, routes: routes, sessions: sessions, clock: clock, keys: keys,
                        verifier: verifier, readiness: readiness, delivery: delivery))
            } catch {
                await group.triggerGracefulShutdown()
                throw error
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    // MARK: Requests

    func request(
        _ method: HTTPMethod, _ path: String, token: String? = nil, headers: [(String, String)] = [], body: HTTPClientRequest.Body? = nil
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url + path)
        request.method = method
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        request.body = body
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        let bytes = try await response.body.collect(upTo: 1 << 20)
        return Answer(status: Int(response.status.code), headers: response.headers, body: Data(bytes.readableBytesView))
    }

    func get(_ path: String, _ person: Person? = nil) async throws -> Answer {
        try await request(.GET, path, token: person?.token)
    }

    func send(
        _ method: HTTPMethod, _ path: String, _ person: Person? = nil, _ document: some Encodable & Sendable,
        headers: [(String, String)] = []
    ) async throws -> Answer {
        try await request(
            method, path, token: person?.token, headers: headers + [("Content-Type", "application/json")],
            body: .bytes(try JSONEncoder().encode(document)))
    }

    func form(_ path: String, _ fields: [String: String], headers: [(String, String)] = []) async throws -> Answer {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._")
        let text = fields.map { "\($0.key)=\($0.value.addingPercentEncoding(withAllowedCharacters: allowed) ?? "")" }
        return try await request(
            .POST, path, headers: headers + [("Content-Type", "application/x-www-form-urlencoded")],
            body: .bytes(ByteBuffer(string: text.joined(separator: "&"))))
    }

    // MARK: People

    static let password = "correct horse"

    struct Person: Sendable {
        var id: AccountID
        var name: String
        var device: DeviceID
        var token: String
        var refreshToken: String
    }

    func register(_ name: String) async throws -> AccountID {
        let answer = try await send(.POST, HTTPPath.accounts, nil, RegisterRequest(username: name, password: Self.password))
        try #require(answer.status == 201)
        return try answer.json(AccountProfile.self).id
    }

    func loginAnswer(_ name: String, _ fields: [String: String] = [:]) async throws -> Answer {
        let standard = ["grant_type": "password", "username": name, "password": Self.password]
        return try await form(HTTPPath.token, standard.merging(fields) { $1 })
    }

    func login(_ name: String, _ fields: [String: String] = [:]) async throws -> Person {
        let answer = try await loginAnswer(name, fields)
        try #require(answer.status == 200, "\(String(decoding: answer.body, as: UTF8.self))")
        return try Self.person(name, try answer.json(TokenResponse.self))
    }

    func person(_ name: String) async throws -> Person {
        _ = try await register(name)
        return try await login(name)
    }

    static func person(_ name: String, _ response: TokenResponse) throws -> Person {
        Person(
            id: try #require(response.account), name: name, device: try #require(response.device), token: response.accessToken,
            refreshToken: try #require(response.refreshToken))
    }

    func refresh(_ token: String) async throws -> Answer {
        try await form(HTTPPath.token, ["grant_type": "refresh_token", "refresh_token": token])
    }

    /// As if the device had an open session.
    func connect(_ person: Person) async throws {
        try await routes.add(
            Route(session: SessionID(person.device.rawValue), account: person.id, device: person.device, node: NodeID(number: 0, epoch: 0)))
    }
}
