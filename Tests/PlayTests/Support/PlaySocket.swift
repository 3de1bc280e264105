import ApusChaos
import ApusProtocol
import NIOCore
import NIOPosix

/// A connection to the socket protocol that does what it is told, right or wrong: stories about bad input need a client that can
/// misbehave, and so the SDK will not do.
final class PlaySocket: Sendable {
    enum Carrier: Sendable, Hashable, CaseIterable, CustomStringConvertible {
        case webSocket(FrameEncoding)
        case tcp

        static let allCases: [Carrier] = [.webSocket(.protobuf), .webSocket(.json), .tcp]

        var encoding: FrameEncoding {
            switch self {
            case .webSocket(let encoding): encoding
            case .tcp: .protobuf
            }
        }

        var description: String {
            switch self {
            case .webSocket(let encoding): "WebSocket \(encoding)"
            case .tcp: "TCP"
            }
        }
    }

    enum Received: Sendable {
        case frame(InboundServerFrame)
        /// The server's close code. Nil: the connection ended without one.
        case closed(CloseCode?)
    }

    struct Unexpected: Error, CustomStringConvertible {
        var description: String
    }

    let carrier: Carrier
    private let channel: any Channel
    private let inbox: Inbox

    private init(carrier: Carrier, channel: any Channel, inbox: Inbox) {
        self.carrier = carrier
        self.channel = channel
        self.inbox = inbox
    }

    /// Connects to this node, upgrade included. Nothing has been said yet.
    static func open(_ carrier: Carrier, _ node: ServerProcess.Endpoints) async throws -> PlaySocket {
        try await open(carrier, address: carrier == .tcp ? node.tcp : node.socket)
    }

    /// - Parameter address: `HOST:PORT` of the listener for this carrier.
    static func open(_ carrier: Carrier, address: String) async throws -> PlaySocket {
        guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
            throw Unexpected(description: "\(address) is no HOST:PORT")
        }
        let host = String(address[..<colon])
        let (stream, continuation) = AsyncStream.makeStream(of: Received.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(PlaySocketHandler(carrier: carrier, host: host, inbox: continuation))
                }
            }
            .connect(host: host, port: port).get()
        return PlaySocket(carrier: carrier, channel: channel, inbox: Inbox(stream))
    }

    // MARK: Saying

    func send(_ frame: WireClientFrame) async throws {
        var bytes = ByteBuffer()
        try carrier.encoding.encode(frame, into: &bytes)
        try await sendMessage(bytes)
    }

    func send(_ frame: SendFrame) async throws {
        var bytes = ByteBuffer()
        carrier.encoding.encode(frame, into: &bytes)
        try await sendMessage(bytes)
    }

    /// Any bytes as one message of the carrier.
    func sendMessage(_ bytes: ByteBuffer, asText: Bool? = nil) async throws {
        var out = ByteBuffer()
        switch carrier {
        case .tcp: out.writeInteger(UInt32(bytes.readableBytes))
        case .webSocket(let encoding):
            out.writeInteger(UInt8(0x80 | ((asText ?? (encoding == .json)) ? 1 : 2)))
            switch bytes.readableBytes {
            case ..<126: out.writeInteger(UInt8(0x80 | bytes.readableBytes))
            case ..<65_536: out.writeMultipleIntegers(UInt8(0x80 | 126), UInt16(bytes.readableBytes))
            default: out.writeMultipleIntegers(UInt8(0x80 | 127), UInt64(bytes.readableBytes))
            }
            // A masking key of zeros is a valid one and leaves the payload as it is.
            out.writeInteger(UInt32(0))
        }
        out.writeImmutableBuffer(bytes)
        try await sendRaw(out)
    }

    /// Any bytes at all. What the server did not want to read is not an error here: it answers with a close.
    func sendRaw(_ bytes: ByteBuffer) async throws {
        do {
            try await channel.writeAndFlush(bytes)
        } catch is ChannelError {
        } catch let error as IOError where [EPIPE, ECONNRESET].contains(error.errnoCode) {
        }
    }

    func close() async throws {
        do { try await channel.close() } catch ChannelError.alreadyClosed {}
    }

    // MARK: Listening

    /// The next thing that comes. Ends with the time limit of the test.
    func next() async throws -> Received { try await inbox.next() }

    /// Says hello and expects to be welcomed.
    @discardableResult
    func hello(_ token: String) async throws -> WireWelcome {
        var hello = WireHello()
        hello.accessToken = token
        hello.client = "play"
        try await send(WireClientFrame(ref: 1, .hello(hello)))
        guard case .frame(.other(let frame)) = try await next(), case .welcome(let welcome) = frame.body else {
            throw Unexpected(description: "hello was not answered with welcome")
        }
        return welcome
    }

    /// Sends a text and returns its acknowledgement. Entries that are pushed meanwhile are kept for ``nextEntry()``.
    @discardableResult
    func say(_ text: String, in conversation: ConversationID, clientID: String, deliverAt: Timestamp? = nil) async throws -> AckFrame {
        try await send(SendFrame(ref: 2, conversation: conversation, clientID: clientID, body: text, deliverAt: deliverAt))
        while true {
            switch try await next() {
            case .frame(.ack(let ack)) where ack.clientID == clientID: return ack
            case .frame(.other(let frame)):
                if case .error(let error) = frame.body { throw ApusError(ErrorCode(rawValue: error.code), error.message) }
            case .frame(.entry(let entry)): await inbox.keep(entry)
            case .frame: continue
            case .closed(let code): throw Unexpected(description: "closed with \(String(describing: code)) instead of an ack")
            }
        }
    }

    /// The next entry that is pushed.
    func nextEntry() async throws -> Entry {
        if let kept = await inbox.takeKept() { return kept }
        while true {
            switch try await next() {
            case .frame(.entry(let entry)): return entry
            case .frame: continue
            case .closed(let code): throw Unexpected(description: "closed with \(String(describing: code)) instead of an entry")
            }
        }
    }

    /// The next error frame.
    func nextError() async throws -> WireError {
        while true {
            switch try await next() {
            case .frame(.other(let frame)):
                if case .error(let error) = frame.body { return error }
            case .frame: continue
            case .closed(let code): throw Unexpected(description: "closed with \(String(describing: code)) instead of an error")
            }
        }
    }

    /// How the server ends the connection.
    func closeCode() async throws -> CloseCode? {
        while true {
            if case .closed(let code) = try await next() { return code }
        }
    }

    /// Whether the session is alive: a ping is answered.
    func isAlive() async throws -> Bool {
        try await send(WireClientFrame(ref: 99, .ping(WirePing())))
        while true {
            switch try await next() {
            case .frame(.other(let frame)):
                if case .pong = frame.body { return true }
            case .frame: continue
            case .closed: return false
            }
        }
    }
}

/// What has come, for one reader at a time.
private actor Inbox {
    private let iterator: AsyncStream<PlaySocket.Received>.Iterator
    /// Entries that came while something else was waited for.
    private var kept: [Entry] = []

    init(_ stream: AsyncStream<PlaySocket.Received>) { iterator = stream.makeAsyncIterator() }

    func keep(_ entry: Entry) { kept.append(entry) }

    func takeKept() -> Entry? { kept.isEmpty ? nil : kept.removeFirst() }

    func next() async throws -> PlaySocket.Received {
        // Copies of this iterator read from one buffer; the actor's own cannot be awaited on in place.
        var iterator = iterator
        guard let received = await iterator.next(isolation: self) else {
            try Task.checkCancellation()
            throw PlaySocket.Unexpected(description: "the connection has ended")
        }
        return received
    }
}

/// Upgrades, takes the carrier's framing off, and hands messages on.
private final class PlaySocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State { case upgrading, open, closed }

    private let carrier: PlaySocket.Carrier
    private let host: String
    private let inbox: AsyncStream<PlaySocket.Received>.Continuation
    private var state = State.upgrading
    private var received = ByteBuffer()

    init(carrier: PlaySocket.Carrier, host: String, inbox: AsyncStream<PlaySocket.Received>.Continuation) {
        self.carrier = carrier
        self.host = host
        self.inbox = inbox
    }

    func channelActive(context: ChannelHandlerContext) {
        guard case .webSocket(let encoding) = carrier else {
            state = .open
            return
        }
        // The key is the example of RFC 6455, section 1.3.
        let request = """
            GET \(HTTPPath.webSocket) HTTP/1.1\r
            Host: \(host)\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Protocol: \(encoding.subprotocol)\r
            \r

            """
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: request)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.writeImmutableBuffer(unwrapInboundIn(data))
        if state == .upgrading {
            guard let blank = received.readableBytesView.firstRange(of: Array("\r\n\r\n".utf8)) else { return }
            let head = String(buffer: received.readSlice(length: blank.upperBound - received.readerIndex) ?? ByteBuffer())
            guard head.hasPrefix("HTTP/1.1 101") else { return end(with: nil) }
            state = .open
        }
        while state == .open, let message = nextMessage() { take(message) }
    }

    func channelInactive(context: ChannelHandlerContext) { end(with: nil) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private enum Message {
        case data(ByteBuffer)
        case close(CloseCode?)
        case ignored
    }

    private func take(_ message: Message) {
        switch message {
        case .ignored: break
        case .close(let code): end(with: code)
        case .data(let bytes):
            do {
                let frame = try carrier.encoding.decodeServerFrame(bytes)
                // Over TCP the close is a message.
                if case .other(let other) = frame, case .close(let close) = other.body {
                    return end(with: CloseCode(rawValue: UInt16(truncatingIfNeeded: close.code)))
                }
                inbox.yield(.frame(frame))
            } catch {
                end(with: nil)
            }
        }
    }

    /// Once; what comes behind is no more of interest.
    private func end(with code: CloseCode?) {
        guard state != .closed else { return }
        state = .closed
        inbox.yield(.closed(code))
        inbox.finish()
    }

    private func nextMessage() -> Message? {
        if carrier == .tcp {
            guard let length = received.getInteger(at: received.readerIndex, as: UInt32.self),
                received.readableBytes >= 4 + Int(length)
            else { return nil }
            received.moveReaderIndex(forwardBy: 4)
            return received.readSlice(length: Int(length)).map { .data($0) }
        }
        var bytes = received
        guard let opcode = bytes.readInteger(as: UInt8.self), let short = bytes.readInteger(as: UInt8.self) else { return nil }
        var length = Int(short & 0x7F)
        if length == 126 {
            guard let long = bytes.readInteger(as: UInt16.self) else { return nil }
            length = Int(long)
        } else if length == 127 {
            guard let long = bytes.readInteger(as: UInt64.self) else { return nil }
            length = Int(long)
        }
        guard var payload = bytes.readSlice(length: length) else { return nil }
        received = bytes
        switch opcode & 0x0F {
        case 1, 2: return .data(payload)
        case 8: return .close(payload.readInteger(as: UInt16.self).map { CloseCode(rawValue: $0) })
        default: return .ignored
        }
    }
}
