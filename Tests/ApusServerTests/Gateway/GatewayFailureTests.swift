import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Hummingbird
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import ServiceLifecycle
import Testing

@testable import ApusServer

@Suite("Gateway: failing nodes")
struct GatewayFailureTests {
    private static let body = HTTPClientRequest.Body.bytes(ByteBuffer(string: #"{"kind":"group"}"#))

    /// Reads a request's first bytes, notes them, and closes; with `partial` after the beginning of an answer.
    private static func breakingOff(
        partial: String? = nil, _ seen: NIOLockedValueBox<Int>, _ test: @Sendable (RawServer) async throws -> Void
    ) async throws {
        try await RawServer.run(
            { inbound, outbound, _ in
                var requests = inbound.makeAsyncIterator()
                guard try await requests.next() != nil else { return }
                seen.withLockedValue { $0 += 1 }
                if let partial { try await outbound.write(ByteBuffer(string: partial)) }
            }, test)
    }

    @Test("What may be repeated is asked of another node when its node dies in the middle; the client sees nothing of it")
    func retry() async throws {
        let seen = NIOLockedValueBox(0)
        for partial in [nil, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":"] {
            try await Self.breakingOff(partial: partial, seen) { server in
                // Two rounds, so that each of the two nodes is the first one once.
                try await GatewayHarness.run([.at(server.address, number: 1), .mirror(2)]) { gateway in
                    for _ in 0..<2 {
                        #expect(try await gateway.request(.GET, HTTPPath.account).node == "2")
                        let keyed = try await gateway.request(
                            .POST, HTTPPath.conversations, headers: [("Idempotency-Key", "k1")], body: Self.body)
                        #expect((keyed.status, try keyed.json([String: String].self)["body"]) == (200, #"{"kind":"group"}"#))
                    }
                }
            }
        }
        #expect(seen.withLockedValue { $0 } == 4)
    }

    @Test("What must not be repeated is not: the client is told that its outcome is not known")
    func noRetry() async throws {
        let seen = NIOLockedValueBox(0)
        try await Self.breakingOff(seen) { server in
            try await GatewayHarness.run([.at(server.address, number: 1), .mirror(2)]) { gateway in
                var statuses: [Int] = []
                for _ in 0..<2 {
                    let answer = try await gateway.request(.POST, HTTPPath.conversations, body: Self.body)
                    statuses.append(answer.status)
                    if answer.status != 200 { #expect(try answer.problem().code == .badGateway) }
                }
                #expect(statuses.sorted() == [200, 502])
            }
        }
        #expect(seen.withLockedValue { $0 } == 1)
    }

    @Test("A node that cannot be reached has done nothing: any request goes to another one, and to nobody where there is none")
    func unreachable() async throws {
        let nobody = try await RawServer.nobody()
        try await GatewayHarness.run([.at(nobody, number: 1), .mirror(2)]) { gateway in
            for _ in 0..<2 {
                #expect(try await gateway.request(.POST, HTTPPath.conversations, body: Self.body).node == "2")
                // In pieces.
                let large = HTTPClientRequest.Body.bytes(ByteBuffer(repeating: 0x61, count: 200_000))
                let answer = try await gateway.request(.POST, HTTPPath.conversations, body: large)
                #expect((answer.node, try answer.json([String: String].self)["body"]?.count) == ("2", 200_000))
            }
        }
        try await GatewayHarness.run([.at(nobody, number: 1)]) { gateway in
            let answer = try await gateway.request(.GET, HTTPPath.account)
            #expect((answer.status, try answer.problem().code) == (503, .unavailable))
        }
    }

    @Test("A node that fails is left alone, and gets requests again when it has recovered")
    func breaker() async throws {
        let isBroken = NIOLockedValueBox(true)
        let seen = NIOLockedValueBox(0)
        try await RawServer.run(
            { inbound, outbound, _ in
                for try await _ in inbound {
                    seen.withLockedValue { $0 += 1 }
                    guard !isBroken.withLockedValue({ $0 }) else { return }
                    try await outbound.write(ByteBuffer(string: "HTTP/1.1 200 OK\r\nX-Node: 1\r\nContent-Length: 2\r\n\r\nok"))
                }
            },
            { server in
                var options = GatewayHarness.Options()
                options.upstream.breaker = .init(volumeMin: 3, pause: .milliseconds(300))
                try await GatewayHarness.run([.at(server.address, number: 1), .mirror(2)], options) { gateway in
                    for _ in 0..<20 { #expect(try await gateway.request(.GET, HTTPPath.account).node == "2") }
                    #expect(gateway.breaker(1) == .open)
                    #expect(seen.withLockedValue { $0 } == 3)
                    isBroken.withLockedValue { $0 = false }
                    // The pause is real time; its end is the event that is waited for.
                    while gateway.breaker(1) == .open { try await Task.sleep(for: .milliseconds(10)) }
                    var nodes: Set<String?> = []
                    for _ in 0..<4 { nodes.insert(try await gateway.request(.GET, HTTPPath.account).node) }
                    #expect(nodes == ["1", "2"])
                    #expect(gateway.breaker(1) == .closed)
                }
            })
    }

    @Test("A node that does not answer is given up: in favour of another one where that is allowed, else with 504 in time")
    func slowNode() async throws {
        let stuck = StubNode(number: 1) { _, _ in
            try await gracefulShutdown()
            return .noContent
        }
        var options = GatewayHarness.Options()
        options.upstream.attemptTimeout = .milliseconds(100)
        options.gateway.http.requestTimeout = .milliseconds(400)
        try await GatewayHarness.run([stuck, .mirror(2)], options) { gateway in
            for _ in 0..<2 { #expect(try await gateway.request(.GET, HTTPPath.account).node == "2") }
            var codes: Set<Int> = []
            for _ in 0..<2 { codes.insert(try await gateway.request(.POST, HTTPPath.conversations, body: Self.body).status) }
            #expect(codes == [200, 504])
        }
        try await GatewayHarness.run([stuck], options) { gateway in
            let answer = try await gateway.request(.GET, HTTPPath.account)
            #expect((answer.status, try answer.problem().code) == (504, .gatewayTimeout))
        }
    }

    @Test("A client whose small body does not come is told so, and no node hears of it")
    func slowClient() async throws {
        var options = GatewayHarness.Options()
        options.gateway.http.requestTimeout = .milliseconds(100)
        try await GatewayHarness.run([], options) { gateway in
            let answer = try await RawClient.exchange(
                gateway.port,
                "POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\nContent-Length: 50\r\n\r\nhalf")
            #expect(answer.hasPrefix("HTTP/1.1 408 ") && answer.contains("request_timeout"))
        }
    }

    @Test("A node that leaves the registry gets no more requests, one that comes gets its share")
    func registry() async throws {
        try await GatewayHarness.run([.mirror(1), .mirror(2)]) { gateway in
            func nodes() async throws -> Set<String?> {
                var nodes: Set<String?> = []
                for _ in 0..<6 { nodes.insert(try await gateway.request(.GET, HTTPPath.account).node) }
                return nodes
            }
            #expect(try await nodes() == ["1", "2"])
            func set(_ nodes: [NodeInfo]) async throws {
                gateway.registry.set(nodes)
                while gateway.upstreams.pool(.user)?.nodes != nodes { try await Task.sleep(for: .milliseconds(1)) }
            }
            try await set([gateway.nodes[1]])
            #expect(try await nodes() == ["2"])
            var draining = gateway.nodes[1]
            draining.weight = 0
            try await set([gateway.nodes[0], draining])
            #expect(try await nodes() == ["1"])
        }
    }
}
