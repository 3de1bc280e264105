import ApusProtocol
import NIOCore

/// What sits on a carrier: a session, or an echo in the tests of the carrier. All calls come on the channel's event loop.
protocol MessageSink: AnyObject {
    /// Messages may be sent from now on.
    func opened(_ carrier: CarrierHandler<Self>, kind: CarrierKind)
    /// The bytes may be a part of a larger buffer: copy what is kept.
    func received(_ message: ByteBuffer)
    /// All messages of one read have been handed in: flush.
    func readCompleted()
    func writabilityChanged()
    /// Nothing follows.
    func closed()
}

/// Moves messages between a socket and a ``MessageSink``. The only handler of its channel: WebSocket handshake, frames, TCP
/// length prefix, back-pressure and close are here, because each handler more costs an idle connection a kilobyte.
final class CarrierHandler<Sink: MessageSink>: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Start {
        case webSocket(WebSocketHandshake.Policy)
        case tcp
    }

    private enum State {
        case handshaking(WebSocketHandshake)
        case webSocket(WebSocketParser, CarrierKind)
        case tcp(LengthPrefixParser)
        /// Our close is written, the peer's is awaited.
        case closing
        case closed
    }

    /// How long the peer may take to answer our close.
    private static var closeTimeout: TimeAmount { .seconds(1) }

    let sink: Sink
    private var state: State
    private var context: ChannelHandlerContext?
    private var readsPaused = false
    private var readWanted = false
    private let messageBytesMax: Int

    init(start: Start, messageBytesMax: Int, sink: Sink) {
        self.sink = sink
        self.messageBytesMax = messageBytesMax
        switch start {
        case .webSocket(let policy): state = .handshaking(WebSocketHandshake(policy: policy))
        case .tcp: state = .tcp(LengthPrefixParser(messageBytesMax: messageBytesMax))
        }
    }

    // MARK: For the sink

    /// Whether less than the channel's high water mark waits to be written.
    var isWritable: Bool { context?.channel.isWritable ?? false }

    /// Queues a frame made with ``CarrierKind/frame(sizeHint:_:)``.
    func write(_ frame: ByteBuffer) {
        switch state {
        case .webSocket, .tcp: context?.write(wrapOutboundOut(frame), promise: nil)
        case .handshaking, .closing, .closed: break
        }
    }

    func flush() { context?.flush() }

    /// Messages may have this many bytes from now on.
    func allow(messageBytesMax: Int) {
        switch state {
        case .webSocket(var parser, let kind):
            parser.messageBytesMax = messageBytesMax
            state = .webSocket(parser, kind)
        case .tcp(var parser):
            parser.messageBytesMax = messageBytesMax
            state = .tcp(parser)
        case .handshaking, .closing, .closed: break
        }
    }

    /// Stops or resumes reading; the kernel's buffers fill and the peer waits.
    func pauseReads(_ paused: Bool) {
        readsPaused = paused
        if !paused, readWanted {
            readWanted = false
            context?.read()
        }
    }

    /// Says why and closes. Nothing is read or written after it.
    func close(_ code: CloseCode, _ reason: String) {
        guard let context else { return }
        switch state {
        case .handshaking, .closing, .closed:
            context.close(promise: nil)
            return
        case .webSocket: context.write(wrapOutboundOut(WebSocketWriter.close(code, reason)), promise: nil)
        case .tcp:
            var close = WireClose()
            close.code = UInt32(code.rawValue)
            close.reason = reason
            if let frame = try? CarrierKind.tcp.frame(
                sizeHint: 64, { try FrameEncoding.protobuf.encode(WireServerFrame(.close(close)), into: &$0) })
            {
                context.write(wrapOutboundOut(frame), promise: nil)
            }
        }
        finish(context)
    }

    // MARK: From the channel

    func channelActive(context: ChannelHandlerContext) {
        if case .tcp = state { sink.opened(self, kind: .tcp) }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        state = .closed
        sink.closed()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        switch state {
        case .handshaking(var handshake):
            state = .closed
            let outcome = handshake.feed(bytes)
            shake(context, handshake, outcome)
        case .webSocket(var parser, let kind):
            // The parser leaves the state while it works: two owners of its buffer would make each unmasking a copy.
            state = .closed
            parser.feed(bytes)
            state = .webSocket(parser, kind)
            parser = WebSocketParser(messageBytesMax: 0)
            drainWebSocket(context)
        case .tcp(var parser):
            state = .closed
            parser.feed(bytes)
            state = .tcp(parser)
            parser = LengthPrefixParser(messageBytesMax: 0)
            drainTCP()
        case .closing:
            // The peer's last words are not for us any more; its end of the stream ends the channel.
            break
        case .closed: break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        sink.readCompleted()
        context.flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { sink.writabilityChanged() }

    /// A reset by the peer and the like: the connection is over, and the log of its end is the session's.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func read(context: ChannelHandlerContext) {
        if readsPaused {
            readWanted = true
        } else {
            context.read()
        }
    }

    // MARK: Inside

    private func shake(_ context: ChannelHandlerContext, _ handshake: WebSocketHandshake, _ outcome: WebSocketHandshake.Outcome) {
        switch outcome {
        case .needsMore: state = .handshaking(handshake)
        case .refused(let response):
            context.write(wrapOutboundOut(response), promise: nil)
            finish(context)
        case .accepted(let response, let subprotocol, let rest):
            context.write(wrapOutboundOut(response), promise: nil)
            let encoding = subprotocol.flatMap(FrameEncoding.init(subprotocol:)) ?? .protobuf
            let kind: CarrierKind = encoding == .json ? .webSocketJSON : .webSocketProtobuf
            var parser = WebSocketParser(messageBytesMax: messageBytesMax)
            if rest.readableBytes > 0 { parser.feed(rest) }
            state = .webSocket(parser, kind)
            sink.opened(self, kind: kind)
            drainWebSocket(context)
        }
    }

    private func drainWebSocket(_ context: ChannelHandlerContext) {
        while let (event, kind) = nextWebSocketEvent() {
            switch event {
            case .message(let payload, let isText):
                if isText != (kind == .webSocketJSON), !acceptsAnyOpcode {
                    return close(.unsupportedData, isText ? "this subprotocol has binary frames" : "this subprotocol has text frames")
                }
                receivedText = isText
                sink.received(payload)
            case .ping(let payload): context.write(wrapOutboundOut(WebSocketWriter.pong(payload)), promise: nil)
            case .pong: break
            case .close(let code):
                context.write(wrapOutboundOut(WebSocketWriter.close(code.map { CloseCode(rawValue: $0) }, "")), promise: nil)
                return finish(context)
            case .violation(let code, let reason): return close(code, reason)
            }
        }
    }

    /// For the tests of the carrier, which echo text as text on a connection without subprotocol.
    var acceptsAnyOpcode = false
    private(set) var receivedText = false

    private func nextWebSocketEvent() -> (WebSocketEvent, CarrierKind)? {
        guard case .webSocket(var parser, let kind) = state else { return nil }
        state = .closed
        let event = parser.next()
        state = .webSocket(parser, kind)
        return event.map { ($0, kind) }
    }

    private func drainTCP() {
        while case .tcp(var parser) = state {
            state = .closed
            let event = parser.next()
            state = .tcp(parser)
            switch event {
            case .message(let payload): sink.received(payload)
            case .tooLarge(let size): return close(.frameTooLarge, "a frame of \(size) bytes")
            case nil: return
            }
        }
    }

    /// Our last bytes are written: closes when the peer does, or after a second.
    private func finish(_ context: ChannelHandlerContext) {
        state = .closing
        pauseReads(false)
        context.flush()
        context.close(mode: .output, promise: nil)
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.closeTimeout) { channel.close(promise: nil) }
    }
}
