import ApusProtocol
import NIOCore
import NIOHTTPTypes
import NIOSSL

/// Between nodes of a cluster: answers only to those that showed a certificate of the cluster, but for questions after the node's health, which
/// come from whoever runs it.
final class NodeGuard: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundOut = HTTPResponsePart

    private var isRefused = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) { isRefused = !isAdmitted(head.path ?? "", context) }
        guard isRefused else { return context.fireChannelRead(data) }
        guard case .end = unwrapInboundIn(data) else { return }
        context.write(
            wrapOutboundOut(.head(.init(status: .forbidden, headerFields: [.contentLength: "0", .connection: "close"]))), promise: nil)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }

    private func isAdmitted(_ target: String, _ context: ChannelHandlerContext) -> Bool {
        if [HTTPPath.health, HTTPPath.readiness].contains(target) { return true }
        // The handshake is over: without TLS, or with a certificate of somebody else's, there is no request.
        return (try? context.pipeline.syncOperations.nioSSL_peerCertificate()) != nil
    }
}
