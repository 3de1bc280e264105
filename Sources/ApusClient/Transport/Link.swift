import ApusProtocol
import NIOCore

/// An open connection: frames in both directions, whatever carries them.
struct Link: Sendable {
    /// The frames of one read of the socket, together: they become one transaction of the local store.
    typealias Batch = [InboundServerFrame]

    let encoding: FrameEncoding
    let channel: NIOAsyncChannel<Batch, ByteBuffer>

    /// Runs `body` over the batches that arrive; closes the connection when it returns. A close frame of the carrier arrives as the frame
    /// `close`, and the sequence ends after it.
    func run(_ body: @Sendable (NIOAsyncChannelInboundStream<Batch>) async throws -> Void) async throws {
        try await channel.executeThenClose { inbound, _ in try await body(inbound) }
    }

    /// Hands frames to the socket, in order. Does not wait: the caller bounds what is in flight.
    func send(_ frames: [ByteBuffer]) {
        let channel = channel.channel
        channel.eventLoop.execute {
            for frame in frames { channel.write(frame, promise: nil) }
            channel.flush()
        }
    }

    func close() { channel.channel.close(promise: nil) }
}

/// Decodes frames and hands on those of one read together.
final class FrameBatchHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = Link.Batch

    /// A batch is at most one transaction of this many frames.
    private static let batchMax = 256

    private let encoding: FrameEncoding
    private var batch: Link.Batch = []

    init(encoding: FrameEncoding) { self.encoding = encoding }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            batch.append(try encoding.decodeServerFrame(unwrapInboundIn(data)))
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
            return
        }
        if batch.count >= Self.batchMax { flush(context) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush(context)
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        flush(context)
        context.fireChannelInactive()
    }

    private func flush(_ context: ChannelHandlerContext) {
        guard !batch.isEmpty else { return }
        let full = batch
        batch = []
        context.fireChannelRead(wrapInboundOut(full))
    }
}
