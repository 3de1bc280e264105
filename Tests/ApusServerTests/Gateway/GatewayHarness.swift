import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Testing

@testable import ApusServer

/// A registry that a test fills.
final class TestRegistry: NodeRegistry {
    private struct State {
        var nodes: [NodeInfo] = []
        var watchers: [AsyncStream<[NodeInfo]>.Continuation] = []
    }

    private let state = NIOLockedValueBox(State())

    func set(_ nodes: [NodeInfo]) {
        state.withLockedValue { state in
            state.nodes = nodes
            for watcher in state.watchers { watcher.yield(nodes) }
        }
    }

    func register(_ node: NodeInfo) async throws {}
    func deregister() async throws {}

    func nodes() -> AsyncStream<[NodeInfo]> {
        AsyncStream { continuation in
            state.withLockedValue { state in
                state.watchers.append(continuation)
                continuation.yield(state.nodes)
            }
        }
    }
}

/// Lets `burst` through for each key, ever; or cannot be reached.
final class TestLimiter: RateLimiter {
    private let taken = NIOLockedValueBox<[String: Int]>([:])
    private let isAway: Bool

    init(isAway: Bool = false) { self.isAway = isAway }

    var keys: Set<String> { Set(taken.withLockedValue { $0.keys }) }

    func take(_ key: String, _ limit: RateLimit) async throws -> RateDecision {
        if isAway { throw ApusError(.unavailable, "away") }
        let count = taken.withLockedValue { taken in
            taken[key, default: 0] += 1
            return taken[key] ?? 0
        }
        return count <= limit.burst ? .allowed : .refused(retryAfter: .milliseconds(1500))
    }
}

/// Takes `token-N` for the account N.
struct TestVerifier: TokenVerifier {
    func verify(accessToken: String) async throws -> AccessGrant {
        guard accessToken.hasPrefix("token-"), let account = AccountID(String(accessToken.dropFirst(6))) else {
            throw ApusError(.unauthenticated, "the access token is not valid")
        }
        return AccessGrant(subject: .device(account, DeviceID(1)), scopes: [Scope.user], expiresAt: Timestamp(milliseconds: .max))
    }
}

/// Stands for the nodes behind the gateway: has the paths of its roles and answers all of them with one closure.
struct StubRole: HTTPRole {
    typealias Answer = @Sendable (Request, APIContext) async throws -> Response

    var roles: Set<Role>
    var answer: Answer

    func addRoutes(to routes: HTTPRoutes) {
        for route in RoutingTable.api.routes where roles.contains(route.role) {
            routes.on(route.method, route.path, for: .anybody, use: answer)
        }
    }
}

/// A node behind the gateway.
struct StubNode: Sendable {
    var number: UInt16
    var roles: Set<Role> = [.auth, .user, .web]
    var answer: StubRole.Answer
    /// Instead of a node of ours.
    var address: NetworkAddress?

    /// Answers with its number and the header fields that it saw, as JSON, in `X-Node`.
    static func mirror(_ number: UInt16, roles: Set<Role> = [.auth, .user, .web]) -> StubNode {
        StubNode(number: number, roles: roles) { request, _ in
            var seen = Dictionary(request.headers.map { ($0.name.canonicalName, $0.value) }) { "\($0), \($1)" }
            seen["host"] = request.head.authority
            seen["target"] = request.head.path
            seen["body"] = String(buffer: try await request.body.collect(upTo: 1 << 20))
            return try Response.json(seen, headers: [HTTPField.Name("X-Node")!: String(number)])
        }
    }

    /// Somebody else's listener that is registered as a node.
    static func at(_ address: NetworkAddress, number: UInt16) -> StubNode {
        StubNode(number: number, answer: { _, _ in .noContent }, address: address)
    }

    func info(_ address: NetworkAddress) -> NodeInfo {
        NodeInfo(id: NodeID(number: number, epoch: 1), roles: roles, http: self.address ?? address, version: "1")
    }
}

/// A gateway with nodes behind it, all in this process on the loopback address.
struct GatewayHarness: Sendable {
    struct Options: Sendable {
        var gateway = GatewayConfiguration(http: HTTPConfiguration(host: "127.0.0.1", port: 0, bodyBytesMax: 200_000_000))
        var upstream = UpstreamConfiguration(attemptTimeout: .milliseconds(500))
        var verifier: any TokenVerifier = TestVerifier()
        var limiter: any RateLimiter = TestLimiter()
        var fallback: (any RateLimiter)?
        /// In place of the verifier above, when it is to ask the nodes for their keys.
        var clock: (any WallClock)?
    }

    let url: String
    let port: Int
    let registry: TestRegistry
    let upstreams: UpstreamClient
    let nodes: [NodeInfo]

    static func run(
        _ nodes: [StubNode], _ options: Options = Options(), _ body: @escaping @Sendable (GatewayHarness) async throws -> Void
    ) async throws {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let registry = TestRegistry()
        let client = HTTPClient(
            eventLoopGroup: .singletonMultiThreadedEventLoopGroup,
            configuration: UpstreamConfiguration.client(idleTimeout: .seconds(10)))
        let upstreams = UpstreamClient(
            client: client, registry: registry, roles: [.auth, .user, .web], configuration: options.upstream, logger: logger)
        var services: [any Service] = []
        let listeners = nodes.map { node in
            HTTPService(
                configuration: HTTPConfiguration(host: "127.0.0.1", port: 0, bodyBytesMax: 200_000_000),
                roles: [StubRole(roles: node.roles, answer: node.answer)], verifier: TestVerifier(), readiness: Readiness(.ready),
                logger: logger)
        }
        services += listeners
        var verifier = options.verifier
        if let clock = options.clock {
            verifier = JWTVerifier(keys: RemoteKeySet(upstreams: upstreams, clock: clock, logger: logger), clock: clock)
        }
        let gateway = GatewayRole(
            configuration: options.gateway, upstreams: upstreams, verifier: verifier, limiter: options.limiter,
            fallback: options.fallback, readiness: Readiness(.ready), logger: logger)
        services += [upstreams, gateway] as [any Service]
        let group = ServiceGroup(services: services, logger: logger)
        do {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                do {
                    var infos: [NodeInfo] = []
                    for (node, listener) in zip(nodes, listeners) { infos.append(node.info(try await listener.address.value)) }
                    registry.set(infos)
                    for role in [Role.auth, .user, .web] { upstreams.pool(role)?.update(infos) }
                    let address = try await gateway.address.value
                    try await body(
                        GatewayHarness(
                            url: "http://\(address)", port: address.port, registry: registry, upstreams: upstreams, nodes: infos))
                } catch {
                    await group.triggerGracefulShutdown()
                    throw error
                }
                await group.triggerGracefulShutdown()
                try await tasks.waitForAll()
            }
        } catch {
            try await client.shutdown()
            throw error
        }
        try await client.shutdown()
    }

    func request(
        _ method: HTTPMethod, _ path: String, token: String? = "token-7", headers: [(String, String)] = [],
        body: HTTPClientRequest.Body? = nil
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

    /// What the mirror behind the gateway saw.
    func mirrored(
        _ method: HTTPMethod = .GET, _ path: String = HTTPPath.account, token: String? = "token-7", headers: [(String, String)] = [],
        body: HTTPClientRequest.Body? = nil
    ) async throws -> [String: String] {
        let answer = try await request(method, path, token: token, headers: headers, body: body)
        try #require(answer.status == 200, "\(String(decoding: answer.body, as: UTF8.self))")
        return try answer.json()
    }

    func breaker(_ number: UInt16, _ role: Role = .user) -> CircuitBreaker.Phase? {
        upstreams.pool(role)?.phase(of: NodeID(number: number, epoch: 1), at: .now)
    }
}

extension Answer {
    /// The number of the node that answered.
    var node: String? { headers.first(name: "X-Node") }
}

/// A listener that does with each connection what a test wants, in bytes.
struct RawServer: Sendable {
    let address: NetworkAddress

    typealias Handler =
        @Sendable (
            NIOAsyncChannelInboundStream<ByteBuffer>, NIOAsyncChannelOutboundWriter<ByteBuffer>, any Channel
        ) async throws -> Void

    /// - Parameter connection: gets each connection; it is closed when that returns.
    static func run(
        _ connection: @escaping Handler,
        _ body: @Sendable (RawServer) async throws -> Void
    ) async throws {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .bind(host: "127.0.0.1", port: 0) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let port = try #require(server.channel.localAddress?.port)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await server.executeThenClose { clients in
                    try await withThrowingDiscardingTaskGroup { connections in
                        for try await client in clients {
                            connections.addTask {
                                // How a connection ends is the test's matter.
                                try? await client.executeThenClose { try await connection($0, $1, client.channel) }
                            }
                        }
                    }
                }
            }
            try await body(RawServer(address: NetworkAddress(host: "127.0.0.1", port: port)))
            group.cancelAll()
        }
    }

    /// An address where nobody listens.
    static func nobody() async throws -> NetworkAddress {
        let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        try await channel.close()
        return NetworkAddress(host: "127.0.0.1", port: port)
    }
}

/// Bytes as they are, to the gateway and back.
enum RawClient {
    typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    static func connect(_ port: Int) async throws -> Connection {
        try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel(wrappingChannelSynchronously: channel) }
        }
    }

    /// Sends and returns what comes back until the server closes.
    static func exchange(_ port: Int, _ bytes: String) async throws -> String {
        var answer = ByteBuffer()
        do {
            try await connect(port).executeThenClose { inbound, outbound in
                try await outbound.write(ByteBuffer(string: bytes))
                for try await part in inbound { answer.writeImmutableBuffer(part) }
            }
        } catch is IOError {
            // The server closed before it read everything.
        }
        return String(buffer: answer)
    }
}
