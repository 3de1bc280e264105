import Logging
import NIOCore
import NIOSSL

/// Says why there is no TLS with a peer: a certificate that is wrong, or none, is for people to put right.
final class PeerTLSLog: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A connection that just breaks has other errors, or ends without a good-bye.
        if error is BoringSSLError || error is NIOSSLError, (error as? NIOSSLError) != .uncleanShutdown {
            let address = context.remoteAddress?.description ?? "unknown"
            logger.warning("no TLS with a peer", metadata: ["address": "\(address)", "error": "\(error)"])
        }
        context.fireErrorCaught(error)
    }
}
