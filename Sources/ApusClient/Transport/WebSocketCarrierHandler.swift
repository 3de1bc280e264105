import ApusProtocol
import NIOCore
import NIOWebSocket

/// The WebSocket carrier: turns messages into frames and back, answers pings, and hands a close frame on as the frame `close`.
final class WebSocketCarrierHandler: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = WebSocketFrame

    enum ProtocolError: Error {
        case messageTooLong
        case unexpectedContinuation
        case masked
    }

    private let encoding: FrameEncoding
    private let bytesMax: Int
    /// The fragments so far of a message that comes in several.
    private var fragments: ByteBuffer?
    private var isClosing = false

    init(encoding: FrameEncoding, bytesMax: Int) {
        self.encoding = encoding
        self.bytesMax = bytesMax
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        guard !isClosing else { return }
        do {
            guard frame.maskKey == nil else { throw ProtocolError.masked }
            switch frame.opcode {
            case .ping: write(context, .pong, frame.data)
            case .connectionClose: try received(close: frame.data, context)
            case .text, .binary, .continuation: try received(fragment: frame, context)
            default: break
            }
        } catch {
            isClosing = true
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let opcode: WebSocketOpcode = encoding == .json ? .text : .binary
        let frame = WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: unwrapOutboundIn(data))
        context.write(wrapOutboundOut(frame), promise: promise)
    }

    /// Says good-bye first. Its answer is not waited for: nothing depends on it.
    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if !isClosing, mode == .all {
            isClosing = true
            var code = context.channel.allocator.buffer(capacity: 2)
            code.writeInteger(CloseCode.normal.rawValue)
            write(context, .connectionClose, code)
        }
        context.close(mode: mode, promise: promise)
    }

    private func received(fragment frame: WebSocketFrame, _ context: ChannelHandlerContext) throws {
        guard (frame.opcode == .continuation) == (fragments != nil) else { throw ProtocolError.unexpectedContinuation }
        var data = frame.data
        var message = fragments ?? ByteBuffer()
        fragments = nil
        guard message.readableBytes + data.readableBytes <= bytesMax else { throw ProtocolError.messageTooLong }
        if message.readableBytes == 0 { message = data } else { message.writeBuffer(&data) }
        if frame.fin { context.fireChannelRead(wrapInboundOut(message)) } else { fragments = message }
    }

    private func received(close data: ByteBuffer, _ context: ChannelHandlerContext) throws {
        isClosing = true
        var data = data
        write(context, .connectionClose, data)
        let code = data.readInteger(as: UInt16.self)
        if let code {
            var close = WireClose()
            close.code = UInt32(code)
            close.reason = data.readString(length: data.readableBytes) ?? ""
            var buffer = context.channel.allocator.buffer(capacity: 64)
            try encoding.encode(WireServerFrame(.close(close)), into: &buffer)
            context.fireChannelRead(wrapInboundOut(buffer))
            context.fireChannelReadComplete()
        }
        context.close(promise: nil)
    }

    private func write(_ context: ChannelHandlerContext, _ opcode: WebSocketOpcode, _ data: ByteBuffer) {
        context.writeAndFlush(
            wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data)), promise: nil)
    }
}
