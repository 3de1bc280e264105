import ApusProtocol
import NIOCore
import NIOEmbedded
import Testing

@testable import ApusServer

/// Sends back what it gets.
final class EchoSink: MessageSink {
    private var carrier: CarrierHandler<EchoSink>?
    private(set) var closedCount = 0

    func opened(_ carrier: CarrierHandler<EchoSink>, kind: CarrierKind) { self.carrier = carrier }

    func received(_ message: ByteBuffer) {
        guard let carrier else { return }
        let kind: CarrierKind = carrier.receivedText ? .webSocketJSON : .webSocketProtobuf
        carrier.write(kind.frame(sizeHint: message.readableBytes) { $0.writeImmutableBuffer(message) })
    }

    func readCompleted() {}
    func writabilityChanged() {}
    func closed() { closedCount += 1 }
}

@Suite("Carrier framing")
struct CarrierTests {
    @Test("a frame has the shortest header that its carrier allows", arguments: [0, 1, 125, 126, 65_535, 65_536, 100_000])
    func headers(size: Int) {
        let payload = [UInt8](repeating: 7, count: size)
        for kind in CarrierKind.allCases {
            let frame = kind.frame(sizeHint: 0) { $0.writeBytes(payload) }
            var header = ByteBuffer()
            switch kind {
            case .webSocketProtobuf: WebSocketWriter.header(.binary, size: size, into: &header)
            case .webSocketJSON: WebSocketWriter.header(.text, size: size, into: &header)
            case .tcp: header.writeInteger(UInt32(size))
            }
            #expect(Array(frame.readableBytesView) == Array(header.readableBytesView) + payload)
        }
    }

    @Test("length-prefixed messages arrive whole however the bytes are cut", arguments: [1, 3, 8, 1000])
    func lengthPrefix(pieces: Int) {
        var bytes = ByteBuffer()
        for size in [0, 1, 300, 2] {
            bytes.writeInteger(UInt32(size))
            bytes.writeRepeatingByte(UInt8(size & 0xFF), count: size)
        }
        var parser = LengthPrefixParser(messageBytesMax: 300)
        var sizes: [Int] = []
        while bytes.readableBytes > 0, let piece = bytes.readSlice(length: min(pieces, bytes.readableBytes)) {
            parser.feed(piece)
            while case .message(let message) = parser.next() { sizes.append(message.readableBytes) }
        }
        #expect(sizes == [0, 1, 300, 2])
        parser.feed(ByteBuffer(integer: UInt32(301)))
        #expect(parser.next() == .tooLarge(301))
    }

    @Test("a close is answered, the sink is told once, and what follows is not read")
    func close() throws {
        let sink = EchoSink()
        let handler = CarrierHandler(start: .webSocket(.init(path: "/v1/socket", subprotocols: [])), messageBytesMax: 1000, sink: sink)
        handler.acceptsAnyOpcode = true
        let channel = EmbeddedChannel(handler: handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(ByteBuffer(string: WebSocketHandshakeTests.request))
        _ = try channel.readOutbound(as: ByteBuffer.self)
        try channel.writeInbound(ByteBuffer(bytes: WebSocketParserTests.frame(0x81, Array("hi".utf8))))
        #expect(try channel.readOutbound(as: ByteBuffer.self) == ByteBuffer(bytes: [0x81, 2, 0x68, 0x69]))
        try channel.writeInbound(
            ByteBuffer(bytes: WebSocketParserTests.frame(0x88, [0x03, 0xE8]) + WebSocketParserTests.frame(0x81, Array("hi".utf8))))
        #expect(try channel.readOutbound(as: ByteBuffer.self) == ByteBuffer(bytes: [0x88, 2, 0x03, 0xE8]))
        #expect(try channel.readOutbound(as: ByteBuffer.self) == nil)
        channel.embeddedEventLoop.advanceTime(by: .seconds(2))
        #expect(!channel.isActive)
        #expect(sink.closedCount == 1)
    }
}
