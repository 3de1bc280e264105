import ApusProtocol
import NIOCore
import NIOWebSocket

@testable import ApusClient

/// One connection at the fake server, on either carrier.
final class FakeSession: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let world: FakeWorld
    private let encoding: FrameEncoding
    private let isWebSocket: Bool
    /// Which of the server's nodes it came to.
    let node: Int
    private var context: ChannelHandlerContext?
    var account: AccountID?

    var isWelcome: Bool { account != nil }

    init(world: FakeWorld, encoding: FrameEncoding, isWebSocket: Bool, node: Int) {
        self.node = node
        self.world = world
        self.encoding = encoding
        self.isWebSocket = isWebSocket
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        world.opened(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        world.closed(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            world.received(try encoding.decodeClientFrame(unwrapInboundIn(data)), from: self)
        } catch {
            close(.malformed)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func send(_ entry: Entry) { write { encoding.encode(entry, into: &$0) } }
    func send(_ ack: AckFrame) { write { encoding.encode(ack, into: &$0) } }
    func send(_ frame: WireServerFrame) { write { try encoding.encode(frame, into: &$0) } }

    /// Says why and closes.
    func close(_ code: CloseCode) {
        guard let context else { return }
        if isWebSocket {
            context.writeAndFlush(NIOAny(FakeWebSocketCarrier.Outbound.close(code)), promise: nil)
        } else {
            var close = WireClose()
            close.code = UInt32(code.rawValue)
            send(WireServerFrame(.close(close)))
        }
        context.close(promise: nil)
    }

    /// Breaks off without a word.
    func abort() {
        account = nil
        context?.close(promise: nil)
    }

    private func write(_ encode: (inout ByteBuffer) throws -> Void) {
        guard let context else { return }
        var buffer = ByteBuffer()
        do { try encode(&buffer) } catch { return abort() }
        if isWebSocket {
            context.writeAndFlush(NIOAny(FakeWebSocketCarrier.Outbound.message(buffer)), promise: nil)
        } else {
            context.writeAndFlush(NIOAny(buffer), promise: nil)
        }
    }
}

/// Frames of a WebSocket on the server's side.
final class FakeWebSocketCarrier: ChannelDuplexHandler {
    enum Outbound: Sendable {
        case message(ByteBuffer)
        case close(CloseCode)
    }

    typealias InboundIn = WebSocketFrame
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = Outbound
    typealias OutboundOut = WebSocketFrame

    private let encoding: FrameEncoding

    init(encoding: FrameEncoding) { self.encoding = encoding }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text, .binary: context.fireChannelRead(wrapInboundOut(frame.unmaskedData))
        case .connectionClose: context.close(promise: nil)
        default: break
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .message(let message):
            let frame = WebSocketFrame(fin: true, opcode: encoding == .json ? .text : .binary, data: message)
            context.write(wrapOutboundOut(frame), promise: promise)
        case .close(let code):
            var data = context.channel.allocator.buffer(capacity: 2)
            data.writeInteger(code.rawValue)
            context.write(wrapOutboundOut(WebSocketFrame(fin: true, opcode: .connectionClose, data: data)), promise: promise)
        }
    }
}
