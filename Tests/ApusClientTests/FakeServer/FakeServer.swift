import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

@testable import ApusClient

/// A server in this process that speaks the protocol over real sockets and can be told to misbehave. One event loop, no threads of its own
/// besides: what a test does through ``with(_:)`` happens between two frames.
final class FakeServer: Sendable {
    private let loop: any EventLoop
    private let world: NIOLoopBound<FakeWorld>
    private let listeners = NIOLockedValueBox<[any Channel]>([])
    let url: URL

    /// Listens on free ports of the loopback while `body` runs.
    static func run<T: Sendable>(_ body: (FakeServer) async throws -> T) async throws -> T {
        let server = try await FakeServer()
        do {
            let result = try await body(server)
            try await server.stop()
            return result
        } catch {
            try await server.stop()
            throw error
        }
    }

    private init() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let world = try await loop.submit { NIOLoopBound(FakeWorld(), eventLoop: loop) }.get()
        let http = try await Self.listen(on: loop) { channel in try Self.configureHTTP(channel, world.value, node: 0) }
        let tcp = try await Self.listen(on: loop) { channel in try Self.configureTCP(channel, world.value, node: 0) }
        guard let httpPort = http.localAddress?.port, let tcpPort = tcp.localAddress?.port,
            let url = URL(string: "http://127.0.0.1:\(httpPort)")
        else { throw ApusError(.internal, "the fake server has no address") }
        self.loop = loop
        self.world = world
        self.url = url
        listeners.withLockedValue { $0 = [http, tcp] }
        try await with { $0.node = SocketNode(url: "ws://127.0.0.1:\(httpPort)/v1/socket", tcp: "127.0.0.1:\(tcpPort)") }
    }

    /// Looks at the server, or changes it, on its event loop.
    @discardableResult
    func with<T: Sendable>(_ body: @escaping @Sendable (FakeWorld) throws -> T) async throws -> T {
        let world = world
        return try await loop.submit { try body(world.value) }.get()
    }

    /// Another socket node of the same cluster, on ports of its own.
    struct Node: Sendable {
        let number: Int
        fileprivate let listeners: [any Channel]
        let address: SocketNode
    }

    /// Starts a socket node. Clients come to it when ``FakeWorld/node`` names it.
    func addNode() async throws -> Node {
        let number = listeners.withLockedValue { $0.count }
        let world = world
        let http = try await Self.listen(on: loop) { channel in try Self.configureHTTP(channel, world.value, node: number) }
        let tcp = try await Self.listen(on: loop) { channel in try Self.configureTCP(channel, world.value, node: number) }
        listeners.withLockedValue { $0 += [http, tcp] }
        let address = SocketNode(
            url: "ws://127.0.0.1:\(http.localAddress?.port ?? 0)/v1/socket", tcp: "127.0.0.1:\(tcp.localAddress?.port ?? 0)")
        return Node(number: number, listeners: [http, tcp], address: address)
    }

    /// Ends a node as kill -9 does: its port refuses connections, and those it had are gone without a word.
    func kill(_ node: Node) async throws {
        for listener in node.listeners { try await listener.close() }
        listeners.withLockedValue { listeners in listeners.removeAll { listener in node.listeners.contains { $0 === listener } } }
        try await with { world in
            for session in world.sessions where session.node == node.number { session.abort() }
        }
    }

    private func stop() async throws {
        for listener in listeners.withLockedValue({ $0 }) { try await listener.close() }
        try await with { world in
            for session in world.sessions { session.abort() }
        }
    }

    private static func listen(
        on loop: any EventLoop, _ configure: @escaping @Sendable (any Channel) throws -> Void
    ) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in channel.eventLoop.makeCompletedFuture { try configure(channel) } }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    private static func configureTCP(_ channel: any Channel, _ world: FakeWorld, node: Int) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ByteToMessageHandler(LengthPrefixHandler(bytesMax: 1 << 20)))
        try pipeline.addHandler(MessageToByteHandler(LengthPrefixEncoder()))
        try pipeline.addHandler(FakeSession(world: world, encoding: .protobuf, isWebSocket: false, node: node))
    }

    private static func configureHTTP(_ channel: any Channel, _ world: FakeWorld, node: Int) throws {
        let bound = NIOLoopBound(world, eventLoop: channel.eventLoop)
        let http = NIOLoopBound(FakeHTTP(world: world), eventLoop: channel.eventLoop)
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: 1 << 20,
            shouldUpgrade: { channel, head in
                var headers = HTTPHeaders()
                if let name = head.headers.first(name: "sec-websocket-protocol"), FrameEncoding(subprotocol: name) != nil {
                    headers.add(name: "sec-websocket-protocol", value: name)
                }
                return channel.eventLoop.makeSucceededFuture(headers)
            },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    guard let encoding = FrameEncoding(subprotocol: head.headers.first(name: "sec-websocket-protocol") ?? "") else {
                        throw ApusError(.malformed, "no subprotocol")
                    }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(FakeWebSocketCarrier(encoding: encoding))
                    try pipeline.addHandler(FakeSession(world: bound.value, encoding: encoding, isWebSocket: true, node: node))
                }
            })
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in context.pipeline.syncOperations.removeHandler(http.value, promise: nil) }
            ))
        try channel.pipeline.syncOperations.addHandler(http.value)
    }
}
