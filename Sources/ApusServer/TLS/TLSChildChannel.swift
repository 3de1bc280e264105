import HummingbirdCore
import Logging
import NIOCore
import NIOSSL

/// An HTTP connection inside TLS. Unlike HummingbirdTLS it asks for the certificate at each connection.
struct TLSChildChannel<Base: ServerChildChannel>: ServerChildChannel {
    let base: Base
    let makeHandler: @Sendable () -> NIOSSLServerHandler

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(makeHandler())
        }.flatMap {
            base.setup(channel: channel, logger: logger)
        }
    }

    func handle(value: Base.Value, logger: Logger) async { await base.handle(value: value, logger: logger) }
}
