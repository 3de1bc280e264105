import AsyncHTTPClient
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// One address for several gateways, as a load balancer in front of a cluster is: asks each again and again whether it is ready, and
/// passes every connection on to the next one that is.
public final class Entrance: Sendable {
    private struct State {
        var ready: [String] = []
        var turn = 0
    }

    private static let checks: HTTPClient = {
        var configuration = HTTPClient.Configuration()
        // One that is down says so at once.
        configuration.connectionPool.retryConnectionEstablishment = false
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()
    private static let checkInterval = Duration.milliseconds(100)
    private static let checkTimeout = TimeAmount.seconds(1)

    /// `HOST:PORT` of each.
    private let gateways: [String]
    private let state: NIOLockedValueBox<State>

    private init(_ gateways: [String]) {
        self.gateways = gateways
        state = NIOLockedValueBox(State(ready: gateways))
    }

    /// Listens on 127.0.0.1 and hands its `HOST:PORT` over.
    public static func with<Result: Sendable>(
        _ gateways: [String], isolation: isolated (any Actor)? = #isolation, _ body: (String) async throws -> Result
    ) async throws -> Result {
        let entrance = Entrance(gateways)
        let listener = try await entrance.listen()
        // It ends with this scope.
        async let _: Void = entrance.check()
        do {
            guard let port = listener.localAddress?.port else { throw ServerProcessError("a listener without a port") }
            let result = try await body("127.0.0.1:\(port)")
            try await listener.close()
            return result
        } catch {
            try? await listener.close()
            throw error
        }
    }

    // MARK: Who is ready

    private func check() async {
        while !Task.isCancelled {
            await withTaskGroup(of: (String, Bool).self) { group in
                for gateway in gateways { group.addTask { (gateway, await Self.isReady(gateway)) } }
                var ready: Set<String> = []
                for await (gateway, isReady) in group where isReady { ready.insert(gateway) }
                let sorted = ready.sorted()
                state.withLockedValue { $0.ready = sorted }
            }
            try? await Task.sleep(for: Self.checkInterval)
        }
    }

    private static func isReady(_ gateway: String) async -> Bool {
        var request = HTTPClientRequest(url: "http://\(gateway)/readyz")
        request.headers.add(name: "connection", value: "close")
        let response = try? await checks.execute(request, timeout: checkTimeout)
        return response?.status == .ok
    }

    private func next() -> String? {
        state.withLockedValue { state in
            // When none is, the checks may be wrong.
            let usable = state.ready.isEmpty ? gateways : state.ready
            guard !usable.isEmpty else { return nil }
            state.turn += 1
            return usable[state.turn % usable.count]
        }
    }

    // MARK: Passing on

    private func listen() async throws -> any Channel {
        try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                guard let address = self.next()?.split(separator: ":"), address.count == 2, let port = Int(address[1]) else {
                    return client.close()
                }
                return ClientBootstrap(group: client.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: String(address[0]), port: port)
                    .flatMap { gateway in
                        client.eventLoop.makeCompletedFuture {
                            try client.pipeline.syncOperations.addHandler(Pass(to: gateway))
                            try gateway.pipeline.syncOperations.addHandler(Pass(to: client))
                        }.flatMap { gateway.setOption(.autoRead, value: true) }.flatMap { client.setOption(.autoRead, value: true) }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    /// Writes what comes on one connection to the other one. Tests do not send more than they read, so nothing holds it back.
    private final class Pass: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let other: any Channel

        init(to other: any Channel) { self.other = other }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            other.write(unwrapInboundIn(data), promise: nil)
        }

        func channelReadComplete(context: ChannelHandlerContext) { other.flush() }

        func channelInactive(context: ChannelHandlerContext) {
            // Not before everything that was written is.
            other.writeAndFlush(ByteBuffer()).whenComplete { [other] _ in other.close(promise: nil) }
            context.fireChannelInactive()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
