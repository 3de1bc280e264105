import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import ApusServer

/// Welcomes everybody and answers nothing more, like a node that was stopped.
final class SilentPeer: Sendable {
    let address: NetworkAddress
    private let channel: any Channel
    private let accepted: NIOLockedValueBox<Int>

    private init(_ channel: any Channel, _ accepted: NIOLockedValueBox<Int>) throws {
        self.channel = channel
        self.accepted = accepted
        address = NetworkAddress(host: "127.0.0.1", port: try #require(channel.localAddress?.port))
    }

    static func listen(as node: NodeID) async throws -> SilentPeer {
        let accepted = NIOLockedValueBox(0)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    accepted.withLockedValue { $0 += 1 }
                    try channel.pipeline.syncOperations.addHandler(Handler(node: node))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return try SilentPeer(channel, accepted)
    }

    var connections: Int { accepted.withLockedValue { $0 } }

    func close() async throws { try await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let node: NodeID
        private var hasGreeted = false

        init(node: NodeID) { self.node = node }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !hasGreeted else { return }
            hasGreeted = true
            var welcome = WirePeerWelcome()
            welcome.node = WirePeerNode(node)
            do {
                let frame = try CarrierKind.tcp.frame(sizeHint: 64) { try WirePeerFrame(.welcome(welcome)).encode(into: &$0) }
                context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
            } catch {
                context.close(promise: nil)
            }
        }
    }
}
