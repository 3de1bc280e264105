import ApusCore
import ApusProtocol
import Foundation
import Hummingbird
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import ApusServer

/// Routes that misbehave.
private struct OddRole: HTTPRole {
    struct Surprise: Error {}

    func addRoutes(to routes: HTTPRoutes) {
        routes.on(.get, "/odd/surprise", for: .anybody) { _, _ in throw Surprise() }
        routes.on(.get, "/odd/store", for: .anybody) { _, _ in
            throw ApusError(.storeUnavailable, "the store is away", retryAfterMilliseconds: 1500, cause: Surprise())
        }
        routes.on(.get, "/odd/endless", for: .anybody) { _, _ in
            try await Task.sleep(for: .seconds(3600))
            return .noContent
        }
        routes.on(.post, "/odd/echo", for: .anybody) { request, context in
            Response(status: .ok, body: ResponseBody(byteBuffer: try await request.bodyBytes(context)))
        }
    }
}

@Suite("HTTP: listener")
struct HTTPServiceTests {
    private static func options(_ change: (inout HTTPConfiguration) -> Void = { _ in }) -> TestServer.Options {
        var options = TestServer.Options()
        options.roles = [OddRole()]
        change(&options.http)
        return options
    }

    @Test("Every kind of wrong request gets a problem document with its code")
    func problems() async throws {
        try await TestServer.run(Self.options()) { server in
            let nowhere = try await server.get("/nowhere")
            #expect((nowhere.status, try nowhere.problem().code) == (404, .notFound))
            let method = try await server.request(.PUT, HTTPPath.devices)
            #expect((method.status, try method.problem().code) == (405, .methodNotAllowed))
            #expect(method.headers.first(name: "Allow") == "DELETE, GET, HEAD")
            let json = [("Content-Type", "application/json")]
            for (body, detail) in [
                ("{", "the body is not valid JSON of this request"), (#"{"username":"alice"}"#, "password is missing"),
                (#"{"username":7,"password":"x"}"#, "username is not valid"),
            ] {
                let answer = try await server.request(.POST, HTTPPath.accounts, headers: json, body: .bytes(ByteBuffer(string: body)))
                let problem = try answer.problem()
                #expect((problem.status, problem.code, problem.detail, problem.retryable) == (400, .malformed, detail, false))
            }
        }
    }

    @Test("An unexpected error is 500 internal without a word of it; a known one keeps its code and says when to retry")
    func serverErrors() async throws {
        try await TestServer.run(Self.options()) { server in
            let surprise = try await server.get("/odd/surprise")
            let problem = try surprise.problem()
            #expect((problem.status, problem.code, problem.retryable) == (500, .internal, true))
            #expect(!String(decoding: surprise.body, as: UTF8.self).contains("Surprise"))
            let store = try await server.get("/odd/store")
            #expect((store.status, try store.problem().code) == (503, .storeUnavailable))
            #expect(store.headers.first(name: "Retry-After") == "2")
            #expect(!String(decoding: store.body, as: UTF8.self).contains("Surprise"))
        }
    }

    @Test("A handler that takes too long is cancelled, and so is one that waits for a body that does not come")
    func deadline() async throws {
        try await TestServer.run(Self.options { $0.requestTimeout = .milliseconds(100) }) { server in
            let answer = try await server.get("/odd/endless")
            #expect((answer.status, try answer.problem().code) == (503, .overloaded))
            let slow = try await Self.raw(server, "POST /odd/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            #expect(slow.hasPrefix("HTTP/1.1 503 "))
        }
    }

    @Test("A body over the limit is refused, whether its length is announced or not; one at the limit is taken")
    func bodyLimit() async throws {
        try await TestServer.run(Self.options { $0.bodyBytesMax = 1000 }) { server in
            func echo(_ count: Int, chunked: Bool) async throws -> Answer {
                let bytes = ByteBuffer(repeating: 0x61, count: count)
                let chunks = AsyncStream { continuation in
                    continuation.yield(bytes)
                    continuation.finish()
                }
                return try await server.request(
                    .POST, "/odd/echo", body: chunked ? .stream(chunks, length: .unknown) : .bytes(bytes))
            }
            for chunked in [false, true] {
                #expect(try await echo(1000, chunked: chunked).body.count == 1000)
                let refused = try await echo(1001, chunked: chunked)
                #expect((refused.status, try refused.problem().code) == (413, .tooLarge))
            }
        }
    }

    @Test("A connection that goes on sending a body that was refused is closed")
    func bodyFlood() async throws {
        try await TestServer.run(Self.options { $0.bodyBytesMax = 1000 }) { server in
            // Ends when the server closes; an hour of body would follow otherwise.
            let answer = try await Self.raw(
                server,
                "POST /odd/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + String(repeating: "x", count: 100_000))
            #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test("Headers over the limit, and bytes that are no HTTP, are answered with 400 and a close")
    func headerLimit() async throws {
        try await TestServer.run(Self.options { $0.headerBytesMax = 2000 }) { server in
            let large = String(repeating: "x", count: 3000)
            for bytes in ["GET /healthz HTTP/1.1\r\nHost: x\r\nX: \(large)\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"] {
                let answer = try await Self.raw(server, bytes)
                #expect(answer.hasPrefix("HTTP/1.1 400 "))
            }
        }
    }

    @Test("A connection that sends nothing is closed")
    func idle() async throws {
        try await TestServer.run(Self.options { $0.idleTimeout = .seconds(1) }) { server in
            let answer = try await Self.raw(server, "GET /healthz HTTP/1.1\r\n")
            #expect(answer.isEmpty)
        }
    }

    @Test("The caller's request id comes back if it is harmless, otherwise the server's own")
    func requestID() async throws {
        try await TestServer.run(Self.options()) { server in
            func id(_ sent: String?) async throws -> String? {
                let answer = try await server.request(.GET, "/nowhere", headers: sent.map { [("X-Request-Id", $0)] } ?? [])
                return answer.headers.first(name: "X-Request-Id")
            }
            #expect(try await id("abc-1") == "abc-1")
            let own = try await id(nil)
            #expect(own?.isEmpty == false)
            #expect(try await id(nil) != own)
            #expect(try await id("a b") != "a b")
            #expect(try await id(String(repeating: "a", count: 65))?.count != 65)
        }
    }

    @Test("The log tells each request by its id, and holds no password and no token even at trace")
    func log() async throws {
        let lines = NIOLockedValueBox<[String]>([])
        var options = Self.options()
        options.logger = Logger(label: "test") { _ in LogCapture(lines: lines) }
        try await TestServer.run(options) { server in
            let alice = try await server.person("alice")
            let renewed = try await server.refresh(alice.refreshToken).json(TokenResponse.self)
            _ = try await server.refresh(alice.refreshToken)
            _ = try await server.loginAnswer("alice", ["password": "a wrong password"])
            _ = try await server.request(.GET, HTTPPath.account + "?token=in-the-query", token: alice.token)
            _ = try await server.request(.GET, "/odd/surprise", headers: [("X-Request-Id", "find-me")])
            let text = lines.withLockedValue { $0 }.joined(separator: "\n")
            for secret in [
                TestServer.password, "a wrong password", "in-the-query", alice.token, alice.refreshToken, renewed.accessToken,
                renewed.refreshToken ?? "",
            ] { #expect(!text.contains(secret)) }
            #expect(text.contains("Surprise"))
            let found = lines.withLockedValue { $0.filter { $0.contains("find-me") } }
            #expect(found.contains { $0.contains("request failed") } && found.contains { $0.contains("/odd/surprise") })
        }
    }

    @Test("Browsers of the configured origins may call, errors included; others may not")
    func crossOrigin() async throws {
        try await TestServer.run(Self.options { $0.corsOrigins = ["https://chat.example.com"] }) { server in
            func allowed(_ origin: String, _ path: String) async throws -> String? {
                let answer = try await server.request(.GET, path, headers: [("Origin", origin)])
                #expect(answer.headers.first(name: "Vary") == "Origin")
                return answer.headers.first(name: "Access-Control-Allow-Origin")
            }
            let good = try await allowed("https://chat.example.com", HTTPPath.health)
            let refused = try await allowed("https://chat.example.com", HTTPPath.account)
            let evil = try await allowed("https://evil.example.com", HTTPPath.health)
            #expect((good, refused, evil) == ("https://chat.example.com", "https://chat.example.com", nil))
        }
        try await TestServer.run(Self.options()) { server in
            let preflight = try await server.request(
                .OPTIONS, HTTPPath.account, headers: [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PATCH")])
            #expect(preflight.status == 204)
            #expect(preflight.headers.first(name: "Access-Control-Allow-Origin") == "*")
            #expect(preflight.headers.first(name: "Access-Control-Allow-Methods")?.contains("PATCH") == true)
            #expect(preflight.headers.first(name: "Access-Control-Allow-Headers")?.contains("Authorization") == true)
        }
    }

    @Test("Health says the process is alive; readiness says whether it wants traffic")
    func health() async throws {
        try await TestServer.run { server in
            #expect(try await server.get(HTTPPath.readiness).status == 200)
            for state in [Readiness.State.starting, .draining] {
                server.readiness.set(state)
                let answer = try await server.get(HTTPPath.readiness)
                #expect((answer.status, String(decoding: answer.body, as: UTF8.self)) == (503, #"{"status":"\#(state.rawValue)"}"#))
                #expect(try await server.get(HTTPPath.health).status == 200)
            }
            #expect(try await server.request(.HEAD, HTTPPath.health).status == 200)
        }
    }

    @Test("Readiness names what is missing; only what is needed makes a server unready, and nothing makes one ready that leaves")
    func missing() async throws {
        try await TestServer.run { server in
            func readiness(_ missing: Readiness.Missing, is status: UInt, _ body: String) async throws {
                server.readiness.set(missing)
                let answer = try await server.get(HTTPPath.readiness)
                #expect((UInt(answer.status), String(decoding: answer.body, as: UTF8.self)) == (status, body))
            }
            try await readiness(.init(useful: ["redis"]), is: 200, #"{"missing":["redis"],"status":"ready"}"#)
            try await readiness(.init(needed: ["mysql"], useful: ["redis"]), is: 503, #"{"missing":["mysql","redis"],"status":"waiting"}"#)
            try await readiness(.init(), is: 200, #"{"status":"ready"}"#)
            server.readiness.set(.draining)
            try await readiness(.init(needed: ["mysql"]), is: 503, #"{"missing":["mysql"],"status":"draining"}"#)
        }
    }

    @Test("Clients of a server that leaves are asked not to keep their connections")
    func farewell() async throws {
        try await TestServer.run { server in
            let before = try await server.get(HTTPPath.health)
            #expect(before.headers.first(name: "Connection") != "close")
            server.readiness.set(.draining)
            for path in [HTTPPath.health, "/nowhere"] {
                let answer = try await server.get(path)
                #expect(answer.headers.first(name: "Connection") == "close")
            }
        }
    }

    @Test("An address that cannot be bound fails the start with its name")
    func addressInUse() async throws {
        try await TestServer.run { server in
            var options = Self.options()
            options.http.port = Int(server.url.split(separator: ":").last ?? "") ?? 0
            await #expect { try await TestServer.run(options) { _ in } } throws: { error in
                (error as? ApusError)?.message.contains("cannot listen for HTTP on 127.0.0.1:\(options.http.port)") == true
            }
        }
    }

    /// Sends bytes as they are and returns what comes back until the server closes.
    private static func raw(_ server: TestServer, _ bytes: String) async throws -> String {
        let port = Int(server.url.split(separator: ":").last ?? "") ?? 0
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(host: "127.0.0.1", port: port) {
            channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        var answer = ByteBuffer()
        do {
            try await channel.executeThenClose { inbound, outbound in
                try await outbound.write(ByteBuffer(string: bytes))
                for try await part in inbound { answer.writeImmutableBuffer(part) }
            }
        } catch is IOError {
            // The server closed before it read everything.
        }
        return String(buffer: answer)
    }
}
