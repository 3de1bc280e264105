import ApusBackends
import ApusCore
import ApusTesting
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import ServiceLifecycle

@testable import ApusBackends

/// Runs services while `body` runs, and ends them.
func running<Result: Sendable>(
    _ services: [any Service], isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Result
) async throws -> Result {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for service in services { group.addTask { try await service.run() } }
        let result = try await body()
        group.cancelAll()
        return result
    }
}

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A node of the tests: each number has an address of its own.
func testNode(_ number: UInt16, epoch: UInt64 = 1, load: Int = 0) -> NodeInfo {
    NodeInfo(
        id: NodeID(number: number, epoch: epoch), roles: [.socket], http: NetworkAddress(host: "127.0.0.1", port: 20_000 + Int(number)),
        load: load, version: "test")
}

/// Passes connections on to a port of this machine, until it is cut: then nothing passes and nobody can connect.
final class Forwarder: Sendable {
    let port: Int
    private let target: Int
    private let listener = NIOLockedValueBox<(any Channel)?>(nil)
    private let children = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])

    static func with<Result>(
        to target: Int, isolation: isolated (any Actor)? = #isolation, _ body: (Forwarder) async throws -> Result
    ) async throws -> Result {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0).get()
        let port = listener.localAddress?.port ?? 0
        try await listener.close()
        let forwarder = Forwarder(port: port, target: target)
        try await forwarder.mend()
        do {
            let result = try await body(forwarder)
            await forwarder.cut()
            return result
        } catch {
            await forwarder.cut()
            throw error
        }
    }

    private init(port: Int, target: Int) {
        self.port = port
        self.target = target
    }

    func cut() async {
        let listener = self.listener.withLockedValue { listener in
            defer { listener = nil }
            return listener
        }
        // Either may have been closed by the other side just now.
        try? await listener?.close()
        for child in children.withLockedValue({ Array($0.values) }) { try? await child.close() }
    }

    func mend() async throws {
        let (target, children) = (target, children)
        let new = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { inbound in
                children.withLockedValue { $0[ObjectIdentifier(inbound)] = inbound }
                inbound.closeFuture.whenComplete { _ in children.withLockedValue { $0[ObjectIdentifier(inbound)] = nil } }
                return ClientBootstrap(group: inbound.eventLoop)
                    .channelInitializer { outbound in
                        outbound.eventLoop.makeCompletedFuture { try outbound.pipeline.syncOperations.addHandler(PassOn(to: inbound)) }
                    }
                    .connect(host: "127.0.0.1", port: target)
                    .flatMapThrowing { outbound in try inbound.pipeline.syncOperations.addHandler(PassOn(to: outbound)) }
            }
            .bind(host: "127.0.0.1", port: port).get()
        listener.withLockedValue { $0 = new }
    }
}

private final class PassOn: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel

    init(to other: any Channel) { self.other = other }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { other.writeAndFlush(unwrapInboundIn(data), promise: nil) }
    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Asks until it is so: for what tells nobody when it changes.
func waitUntil(_ what: String, within timeout: Duration = .seconds(30), _ isMet: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + timeout
    while try await !isMet() {
        guard ContinuousClock.now < deadline else { throw TimedOut(description: "\(what): not within \(timeout)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}

private struct TimedOut: Error, CustomStringConvertible { let description: String }
