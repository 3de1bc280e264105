import ApusCore
import ApusProtocol
import NIOCore
import NIOPosix
import NIOSSL
import Testing

/// A client on bare NIO, inside TLS or not.
final class TLSPeer {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var received = ByteBuffer()

    private init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator, _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) {
        self.inbound = inbound
        self.outbound = outbound
    }

    static func with<Value>(
        _ address: NetworkAddress, _ tls: NIOSSLContext?, _ body: (TLSPeer) async throws -> Value
    ) async throws -> Value {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connectTimeout(.seconds(10))
            .connect(host: address.host, port: address.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(try NIOSSLClientHandler(context: tls, serverHostname: nil))
                    }
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await body(TLSPeer(inbound.makeAsyncIterator(), outbound))
        }
    }

    /// Bytes that have come; waits until there are that many.
    private func bytes(_ count: Int) async throws -> ByteBuffer {
        while received.readableBytes < count {
            let more = try #require(try await inbound.next(), "the server closed the connection")
            received.writeImmutableBuffer(more)
        }
        return received.readSlice(length: count) ?? ByteBuffer()
    }

    func isClosedByServer() async throws -> Bool {
        do {
            while let more = try await inbound.next() { received.writeImmutableBuffer(more) }
        } catch is IOError {
            // A reset is a close.
        }
        return true
    }

    private func hello() throws -> ByteBuffer {
        var hello = WireHello()
        hello.accessToken = "token"
        var frame = ByteBuffer()
        try FrameEncoding.protobuf.encode(WireClientFrame(ref: 1, .hello(hello)), into: &frame)
        return frame
    }

    private func welcome(_ frame: ByteBuffer) throws -> WireWelcome {
        guard case .other(let server) = try FrameEncoding.protobuf.decodeServerFrame(frame), case .welcome(let welcome)? = server.body
        else {
            throw ApusError(.internal, "hello was not answered with welcome")
        }
        return welcome
    }

    // MARK: TCP

    private func exchange(_ frame: ByteBuffer) async throws -> ByteBuffer {
        var message = ByteBuffer(integer: UInt32(frame.readableBytes))
        message.writeImmutableBuffer(frame)
        try await outbound.write(message)
        let prefix = try await bytes(4)
        let size = try #require(prefix.getInteger(at: prefix.readerIndex, as: UInt32.self))
        return try await bytes(Int(size))
    }

    func helloOverTCP() async throws -> WireWelcome { try welcome(try await exchange(try hello())) }

    func isAnsweredOverTCP() async throws -> Bool {
        var ping = ByteBuffer()
        try FrameEncoding.protobuf.encode(WireClientFrame(ref: 2, .ping(WirePing())), into: &ping)
        guard case .other(let frame) = try FrameEncoding.protobuf.decodeServerFrame(try await exchange(ping)), case .pong? = frame.body
        else { return false }
        return true
    }

    // MARK: WebSocket

    func helloOverWebSocket() async throws -> WireWelcome {
        let request = WebSocketHandshakeTests.request.replacing("apus.v1.json", with: "apus.v1.proto")
        try await outbound.write(ByteBuffer(string: request))
        var head = ""
        while !head.hasSuffix("\r\n\r\n") { head += String(buffer: try await bytes(1)) }
        try #require(head.hasPrefix("HTTP/1.1 101 "))
        try await outbound.write(ByteBuffer(bytes: WebSocketParserTests.frame(0x82, Array(try hello().readableBytesView))))
        // The welcome is shorter than 126 bytes.
        let start = try await bytes(2)
        try #require(start.getInteger(at: start.readerIndex, as: UInt8.self) == 0x82)
        let size = try #require(start.getInteger(at: start.readerIndex + 1, as: UInt8.self))
        try #require(size < 126)
        return try welcome(try await bytes(Int(size)))
    }
}
