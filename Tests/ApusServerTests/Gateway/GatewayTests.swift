import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import Testing

@testable import ApusServer

@Suite("Gateway: requests")
struct GatewayTests {
    @Test("Each path goes to a node of its role, as it was asked, and the answer comes back as it was given")
    func routing() async throws {
        let nodes = [StubNode.mirror(1, roles: [.auth]), .mirror(2, roles: [.user]), .mirror(3, roles: [.web])]
        try await GatewayHarness.run(nodes) { gateway in
            for (method, path, node) in [
                (HTTPMethod.POST, HTTPPath.accounts, "1"), (.GET, HTTPPath.accounts, "2"), (.DELETE, HTTPPath.account, "1"),
                (.PATCH, HTTPPath.account, "2"), (.GET, "/v1/conversations/17/entries", "3"), (.DELETE, "/v1/devices/9", "1"),
                (.HEAD, HTTPPath.account, "2"),
            ] {
                let answer = try await gateway.request(method, path)
                #expect((answer.status, answer.node) == (200, node), "\(method) \(path)")
            }
            let seen = try await gateway.mirrored(.GET, HTTPPath.accounts + "?prefix=a%20b&limit=3")
            #expect(seen["target"] == "/v1/accounts?prefix=a%20b&limit=3")
            let head = try await gateway.request(.HEAD, HTTPPath.account)
            #expect(head.body.isEmpty && (Int(head.headers.first(name: "Content-Length") ?? "") ?? 0) > 100)
            let sent = try await gateway.mirrored(.POST, HTTPPath.conversations, body: .bytes(ByteBuffer(string: "hello")))
            #expect((sent["body"], sent["content-length"]) == ("hello", "5"))
        }
    }

    @Test("What no role has is 404, another method 405 with the right ones; health is the gateway's own")
    func unknown() async throws {
        try await GatewayHarness.run([]) { gateway in
            for path in ["/v1/nowhere", "/v1/account/extra", "/", "/v1/account/..%2faccount", "/metrics"] {
                let answer = try await gateway.request(.GET, path)
                #expect((answer.status, try answer.problem().code) == (404, .notFound), "\(path)")
            }
            let other = try await gateway.request(.PUT, HTTPPath.accounts)
            #expect((other.status, try other.problem().code) == (405, .methodNotAllowed))
            #expect(other.headers.first(name: "Allow") == "GET, HEAD, POST")
            #expect(try await gateway.request(.GET, HTTPPath.health, token: nil).status == 200)
            #expect(try await gateway.request(.GET, HTTPPath.readiness, token: nil).status == 200)
        }
    }

    @Test("Without a node of the role the client is told to come back")
    func noNodes() async throws {
        try await GatewayHarness.run([.mirror(1, roles: [.web])]) { gateway in
            let answer = try await gateway.request(.GET, HTTPPath.account)
            #expect((answer.status, try answer.problem().code) == (503, .unavailable))
            #expect(answer.headers.first(name: "Retry-After") == "1")
        }
    }

    @Test("A path that needs a token is refused without a valid one before any node has work with it")
    func tokens() async throws {
        try await GatewayHarness.run([]) { gateway in
            for (token, headers) in [(nil, []), ("nonsense", []), (nil, [("Authorization", "Basic YTpi")])]
                as [(String?, [(String, String)])]
            {
                let answer = try await gateway.request(.GET, HTTPPath.account, token: token, headers: headers)
                #expect((answer.status, try answer.problem().code) == (401, .unauthenticated))
                #expect(answer.headers.first(name: "WWW-Authenticate") != nil)
            }
        }
        try await GatewayHarness.run([.mirror(1)]) { gateway in
            let seen = try await gateway.mirrored(token: "token-7")
            #expect(seen["authorization"] == "Bearer token-7", "the role checks it again")
            #expect(try await gateway.request(.POST, HTTPPath.accounts, token: nil).status == 200)
        }
    }

    @Test("Fields that a client must not set do not reach a node; what the gateway says of the client does")
    func requestFields() async throws {
        try await GatewayHarness.run([.mirror(1)]) { gateway in
            let seen = try await gateway.mirrored(headers: [
                ("Connection", "X-Hop, keep-alive"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("TE", "trailers"), ("Proxy-Authorization", "x"),
                ("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Host", "evil"), ("X-Forwarded-Port", "1"),
                ("X-Real-IP", "1.2.3.4"), ("X-Apus-Account", "1"), ("Origin", "https://a.example"), ("Accept-Language", "de"),
                ("X-Other", "stays"), ("Host", "chat.example.com"),
            ])
            for name in [
                "x-hop", "keep-alive", "te", "proxy-authorization", "forwarded", "x-forwarded-port", "x-real-ip", "x-apus-account",
                "origin",
            ] { #expect(seen[name] == nil, "\(name)") }
            #expect(seen["x-forwarded-for"] == "127.0.0.1")
            #expect((seen["x-forwarded-host"], seen["x-forwarded-proto"], seen["host"]) == ("chat.example.com", "http", "chat.example.com"))
            #expect((seen["accept-language"], seen["x-other"]) == ("de", "stays"))
        }
    }

    @Test("Behind a trusted proxy the client is whom that proxy names")
    func trustedProxy() async throws {
        var options = GatewayHarness.Options()
        options.gateway.http.trustedProxies = [try #require(AddressRange("127.0.0.0/8"))]
        try await GatewayHarness.run([.mirror(1)], options) { gateway in
            let seen = try await gateway.mirrored(headers: [("X-Forwarded-For", "6.6.6.6, 203.0.113.9")])
            #expect(seen["x-forwarded-for"] == "203.0.113.9")
        }
    }

    @Test("Fields of the node's connection and its cross-origin rules do not reach the client")
    func responseFields() async throws {
        let node = StubNode(number: 1) { _, _ in
            Response(
                status: .ok,
                headers: [
                    .connection: "X-Hop", HTTPField.Name("X-Hop")!: "1", HTTPField.Name("Keep-Alive")!: "timeout=5",
                    .accessControlAllowOrigin: "https://of-the-node.example", .eTag: "\"1\"",
                ], body: ResponseBody(byteBuffer: ByteBuffer(string: "ok")))
        }
        try await GatewayHarness.run([node]) { gateway in
            let answer = try await gateway.request(.GET, HTTPPath.account, headers: [("Origin", "https://a.example")])
            #expect(answer.headers["X-Hop"] + answer.headers["Keep-Alive"] == [])
            #expect(answer.headers["Access-Control-Allow-Origin"] == ["*"])
            #expect((answer.headers["ETag"], answer.headers["Date"].count) == (["\"1\""], 1))
        }
    }

    @Test("A decent request id goes along, another is replaced; the client gets the one that the node had")
    func requestIDs() async throws {
        try await GatewayHarness.run([.mirror(1)]) { gateway in
            for (sent, isKept) in [("abc-1", true), ("a b", false), (String(repeating: "a", count: 65), false)] {
                let answer = try await gateway.request(.GET, HTTPPath.account, headers: [("X-Request-Id", sent)])
                let seen = try answer.json([String: String].self)["x-request-id"]
                #expect((seen == sent) == isKept)
                #expect(answer.headers["X-Request-Id"] == [seen])
            }
        }
    }

    @Test("A valid trace is continued, with its state; of anything else a new one begins")
    func traces() async throws {
        try await GatewayHarness.run([.mirror(1)]) { gateway in
            let trace = "0af7651916cd43dd8448eb211c80319c"
            let continued = try await gateway.mirrored(headers: [("traceparent", "00-\(trace)-b7ad6b7169203331-01"), ("tracestate", "a=b")])
            let parts = try #require(continued["traceparent"]).split(separator: "-")
            #expect((parts[1], parts[3], continued["tracestate"]) == (trace[...], "01", "a=b"))
            #expect(parts[2] != "b7ad6b7169203331")
            let fresh = try await gateway.mirrored(headers: [("traceparent", "00-\(trace)-0000000000000000-01"), ("tracestate", "a=b")])
            #expect(fresh["traceparent"].flatMap(TraceContext.init) != nil)
            #expect(fresh["traceparent"]?.contains(trace) == false && fresh["tracestate"] == nil)
        }
    }

    @Test("An upgrade is refused, whatever it is to")
    func upgrades() async throws {
        try await GatewayHarness.run([.mirror(1)]) { gateway in
            for (path, upgrade) in [(HTTPPath.webSocket, "websocket"), (HTTPPath.account, "h2c")] {
                let answer = try await gateway.request(
                    .GET, path,
                    headers: [
                        ("Connection", "Upgrade"), ("Upgrade", upgrade), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                        ("Sec-WebSocket-Version", "13"),
                    ])
                #expect((answer.status, try answer.problem().code) == (400, .invalidArgument))
                #expect(answer.headers["Connection"] == ["close"])
            }
        }
    }

    @Test("People register, log in and talk through the gateway; tokens are checked with the keys that the auth node publishes")
    func wholeWay() async throws {
        try await TestServer.run { server in
            let address = try #require(NetworkAddress(String(server.url.dropFirst("http://".count))))
            var options = GatewayHarness.Options()
            options.clock = server.clock
            try await GatewayHarness.run([.at(address, number: 1)], options) { gateway in
                let entrance = TestServer(
                    url: gateway.url, store: server.store, routes: server.routes, sessions: server.sessions, clock: server.clock,
                    keys: server.keys, verifier: server.verifier, readiness: server.readiness, delivery: server.delivery)
                let alice = try await entrance.person("alice")
                let bob = try await entrance.person("bob")
                let made = try await entrance.send(
                    .POST, HTTPPath.conversations, alice, NewConversationRequest(kind: .group, title: "tea", members: [bob.id]))
                #expect(made.status == 201)
                #expect(try await entrance.get(HTTPPath.socketNode, bob).json(SocketNode.self).url.hasPrefix("ws://127.0.0.1"))
                #expect(try await entrance.get(HTTPPath.account, bob).json(AccountProfile.self).username == "bob")
                try await server.keys.rotate()
                server.clock.advance(.seconds(901))
                #expect(try await entrance.get(HTTPPath.account, bob).status == 401)
                let renewed = try await entrance.refresh(bob.refreshToken).json(TokenResponse.self)
                let again = try await entrance.request(.GET, HTTPPath.account, token: renewed.accessToken)
                #expect(again.status == 200, "the new key is found")
            }
        }
    }
}

@Suite("Gateway: limits")
struct GatewayLimitTests {
    private static let one = RateLimit(perSecond: 1, burst: 1)
    private static let login = "grant_type=password&username=Alice&password=x"

    private static func options(_ limiter: any RateLimiter, _ change: (inout GatewayLimits) -> Void) -> GatewayHarness.Options {
        var options = GatewayHarness.Options()
        options.limiter = limiter
        var limits = GatewayLimits(
            loginPerAddress: nil, loginPerAccount: nil, registrationPerAddress: nil, requestsPerAccount: nil, requestsPerAddress: nil)
        change(&limits)
        options.gateway.limits = limits
        return options
    }

    /// The first is let through, the second refused.
    private static func expectOne(
        _ gateway: GatewayHarness, _ method: HTTPMethod, _ path: String, token: String?, form: String? = nil
    ) async throws {
        let body = form.map { HTTPClientRequest.Body.bytes(ByteBuffer(string: $0)) }
        let headers = [("Content-Type", "application/x-www-form-urlencoded")]
        let first = try await gateway.request(method, path, token: token, headers: headers, body: body)
        #expect([200, 401].contains(first.status))
        let second = try await gateway.request(method, path, token: token, headers: headers, body: body)
        let problem = try second.problem()
        #expect((second.status, problem.code, problem.retryable) == (429, .rateLimited, true))
        #expect(second.headers.first(name: "Retry-After") == "2")
    }

    @Test("Logins are limited per address and per account, and nothing else of the token endpoint with them")
    func logins() async throws {
        let perAddress = TestLimiter()
        try await GatewayHarness.run([.mirror(1)], Self.options(perAddress) { $0.loginPerAddress = Self.one }) { gateway in
            try await Self.expectOne(gateway, .POST, HTTPPath.token, token: nil, form: Self.login)
            let refresh = HTTPClientRequest.Body.bytes(ByteBuffer(string: "grant_type=refresh_token&refresh_token=x"))
            #expect(try await gateway.request(.POST, HTTPPath.token, token: nil, body: refresh).status == 200)
        }
        #expect(perAddress.keys == ["login:127.0.0.1"])
        let perAccount = TestLimiter()
        try await GatewayHarness.run([.mirror(1)], Self.options(perAccount) { $0.loginPerAccount = Self.one }) { gateway in
            try await Self.expectOne(gateway, .POST, HTTPPath.token, token: nil, form: Self.login)
        }
        #expect(perAccount.keys == ["login-to:alice"])
    }

    @Test("Registrations are limited per address")
    func registrations() async throws {
        try await GatewayHarness.run([.mirror(1)], Self.options(TestLimiter()) { $0.registrationPerAddress = Self.one }) { gateway in
            try await Self.expectOne(gateway, .POST, HTTPPath.accounts, token: nil)
            #expect(try await gateway.request(.GET, HTTPPath.accounts).status == 200)
        }
    }

    @Test("Requests are limited per account, each for itself; and per address without a valid token")
    func requests() async throws {
        try await GatewayHarness.run([.mirror(1)], Self.options(TestLimiter()) { $0.requestsPerAccount = Self.one }) { gateway in
            try await Self.expectOne(gateway, .GET, HTTPPath.account, token: "token-7")
            try await Self.expectOne(gateway, .GET, HTTPPath.account, token: "token-8")
        }
        try await GatewayHarness.run([.mirror(1)], Self.options(TestLimiter()) { $0.requestsPerAddress = Self.one }) { gateway in
            try await Self.expectOne(gateway, .GET, HTTPPath.account, token: "invalid")
            #expect(try await gateway.request(.GET, HTTPPath.account, token: "token-7").status == 200)
        }
    }

    @Test("When the shared limits cannot be reached the local ones hold, and without those everything passes")
    func fallback() async throws {
        var options = Self.options(TestLimiter(isAway: true)) { $0.requestsPerAccount = Self.one }
        options.fallback = TestLimiter()
        try await GatewayHarness.run([.mirror(1)], options) { gateway in
            try await Self.expectOne(gateway, .GET, HTTPPath.account, token: "token-7")
        }
        options.fallback = nil
        try await GatewayHarness.run([.mirror(1)], options) { gateway in
            for _ in 0..<3 {
                let answer = try await gateway.request(.GET, HTTPPath.account)
                #expect(answer.status == 200)
            }
        }
    }
}
