import ApusProtocol
import NIOCore
import NIOPosix

/// Where the sessions of a run connect to.
struct BenchNode: Codable, Equatable, Sendable {
    var carrier: BenchCarrier
    var host: String
    var port: Int
    /// The path of the upgrade request.
    var path: String
    /// The `url` under which the server names it.
    var url: String
}

/// Gets what happens on sessions; on their event loop.
protocol BenchSessionDelegate: AnyObject {
    func acknowledged(_ ack: AckFrame, on session: BenchSession)
    func delivered(_ entry: Entry, on session: BenchSession)
    func refused(_ error: WireError, on session: BenchSession)
    /// Any other frame.
    func received(_ body: WireServerFrame.OneOf_Body, on session: BenchSession)
    /// Everything that one read of the socket brought has been handed over.
    func readCompleted(on session: BenchSession)
    /// After `welcome` only; a session that fails earlier fails its `connect`.
    func closed(_ session: BenchSession, reason: String)
}

extension BenchSessionDelegate {
    /// Cursors, typing, heads, pongs and goaway say nothing about what most scenarios measure.
    func received(_ body: WireServerFrame.OneOf_Body, on session: BenchSession) {}
}

/// One session of the load: upgrade, hello, then frames. Confined to its channel's event loop.
final class BenchSession: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private enum State {
        case connecting(EventLoopPromise<Void>)
        case upgrading(EventLoopPromise<Void>)
        case greeting(EventLoopPromise<Void>)
        case open(any BenchSessionDelegate)
        case closed
    }

    /// Which of the worker's sessions this is.
    let index: Int
    private(set) var limits = WireWelcome()

    let node: BenchNode
    private let token: String
    private let delegate: any BenchSessionDelegate
    private var state: State
    private var framing: ClientFraming
    private var channel: (any Channel)?
    private var handshake = ByteBuffer()
    private var outbound = ByteBuffer()
    private var scratch = ByteBuffer()
    private var maskingKeys: SplitMix64
    private var lastSent = NIODeadline.now()

    private init(index: Int, node: BenchNode, token: String, delegate: any BenchSessionDelegate, opened: EventLoopPromise<Void>) {
        self.index = index
        self.node = node
        self.token = token
        self.delegate = delegate
        state = .connecting(opened)
        framing = ClientFraming(carrier: node.carrier)
        maskingKeys = SplitMix64(seed: UInt64(index) + 1)
    }

    /// Connects and authenticates. Call it on `loop`; the answer comes there.
    static func connect(
        index: Int, node: BenchNode, token: String, source: String?, delegate: any BenchSessionDelegate, on loop: any EventLoop
    ) throws -> (session: BenchSession, opened: EventLoopFuture<Void>) {
        let opened = loop.makePromise(of: Void.self)
        let session = BenchSession(index: index, node: node, token: token, delegate: delegate, opened: opened)
        let bound = NIOLoopBound(session, eventLoop: loop)
        var bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(.seconds(20))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(bound.value) }
            }
        if let source { bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: source, port: 0)) }
        bootstrap.connect(host: node.host, port: node.port).whenFailure { error in bound.value.fail("cannot connect: \(error)") }
        let deadline = loop.scheduleTask(in: .seconds(30)) { bound.value.fail("no welcome within 30 s") }
        opened.futureResult.whenComplete { _ in deadline.cancel() }
        return (session, opened.futureResult)
    }

    // MARK: Sending

    /// Queues a frame until ``flush()``.
    func write(_ send: SendFrame) {
        scratch.clear()
        FrameEncoding.protobuf.encode(send, into: &scratch)
        queueScratch()
    }

    func flush() {
        guard outbound.readableBytes > 0, let channel else { return }
        lastSent = .now()
        channel.writeAndFlush(outbound, promise: nil)
        outbound = channel.allocator.buffer(capacity: outbound.readableBytes)
    }

    /// Keeps an otherwise silent session alive.
    func pingIfSilent(since now: NIODeadline) {
        guard case .open = state, limits.heartbeatMs > 0 else { return }
        // At nine tenths: the server allows two and a half times the period, the timer here runs once a second.
        guard now - lastSent >= .milliseconds(Int64(limits.heartbeatMs) * 9 / 10) else { return }
        write(.ping(WirePing()))
        flush()
    }

    func close() {
        guard let channel else { return }
        state = .closed
        channel.close(promise: nil)
    }

    /// Queues a frame until ``flush()``.
    func write(_ body: WireClientFrame.OneOf_Body) {
        scratch.clear()
        do {
            try FrameEncoding.protobuf.encode(WireClientFrame(body), into: &scratch)
            queueScratch()
        } catch {
            fail("cannot encode a frame: \(error)")
        }
    }

    private func queueScratch() {
        framing.write(scratch, maskingKey: UInt32(truncatingIfNeeded: maskingKeys.next()), into: &outbound)
    }

    // MARK: Receiving

    func channelActive(context: ChannelHandlerContext) {
        channel = context.channel
        guard case .connecting(let opened) = state else { return context.close(promise: nil) }
        switch node.carrier {
        case .websocket:
            state = .upgrading(opened)
            outbound.writeString(WebSocketHandshake.request(host: "\(node.host):\(node.port)", path: node.path))
            flush()
        case .tcp: greet(opened)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            var bytes = unwrapInboundIn(data)
            if case .upgrading(let opened) = state {
                handshake.writeBuffer(&bytes)
                guard try WebSocketHandshake.takeResponse(from: &handshake) else { return }
                bytes = handshake
                handshake = ByteBuffer()
                greet(opened)
            }
            framing.append(bytes)
            while let inbound = try framing.next() { try handle(inbound) }
        } catch {
            fail("\(error)")
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        guard case .open(let delegate) = state else { return }
        delegate.readCompleted(on: self)
    }

    func channelInactive(context: ChannelHandlerContext) { fail("the server closed the connection") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { fail("\(error)") }

    private func greet(_ opened: EventLoopPromise<Void>) {
        state = .greeting(opened)
        var hello = WireHello()
        hello.accessToken = token
        hello.client = "apus bench"
        write(.hello(hello))
        flush()
    }

    private func handle(_ inbound: ClientFraming.Inbound) throws {
        switch inbound {
        case .message(let bytes): receive(try FrameEncoding.protobuf.decodeServerFrame(bytes))
        case .ping(let payload):
            framing.writePong(payload, maskingKey: UInt32(truncatingIfNeeded: maskingKeys.next()), into: &outbound)
            flush()
        case .close(let code, let reason): fail("closed by the server: \(code) \(reason)")
        }
    }

    private func receive(_ frame: InboundServerFrame) {
        switch (state, frame) {
        case (.open(let delegate), .entry(let entry)): delegate.delivered(entry, on: self)
        case (.open(let delegate), .ack(let ack)): delegate.acknowledged(ack, on: self)
        case (.open(let delegate), .other(let frame)):
            switch frame.body {
            case .error(let error): delegate.refused(error, on: self)
            case .close(let close): fail("closed by the server: \(close.code) \(close.reason)")
            case let body?: delegate.received(body, on: self)
            case nil: break
            }
        case (.greeting(let opened), .other(let frame)):
            switch frame.body {
            case .welcome(let welcome):
                limits = welcome
                state = .open(delegate)
                opened.succeed()
            case .error(let error): fail("hello refused: \(error.code) \(error.message)")
            case .close(let close): fail("closed by the server: \(close.code) \(close.reason)")
            default: break
            }
        default: break
        }
    }

    private func fail(_ reason: String) {
        let before = state
        state = .closed
        channel?.close(promise: nil)
        switch before {
        case .connecting(let opened), .upgrading(let opened), .greeting(let opened): opened.fail(BenchFailure(reason))
        case .open(let delegate): delegate.closed(self, reason: reason)
        case .closed: break
        }
    }
}

/// Why a run cannot go on, for people.
struct BenchFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
