import NIOCore
import Testing

@testable import apus

@Suite struct ClientFramingTests {
    @Test("A client frame is masked as RFC 6455 wants it, at every size of the length field", arguments: [0, 5, 125, 126, 65_535, 65_536])
    func masked(size: Int) {
        let payload = ByteBuffer(bytes: (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        var out = ByteBuffer()
        ClientFraming(carrier: .websocket).write(payload, maskingKey: 0x1234_5678, into: &out)
        #expect(out.readInteger(as: UInt8.self) == 0x82)
        let short = out.readInteger(as: UInt8.self) ?? 0
        #expect(short & 0x80 != 0)
        let length: Int =
            switch short & 0x7F {
            case 126: Int(out.readInteger(as: UInt16.self) ?? 0)
            case 127: Int(out.readInteger(as: UInt64.self) ?? 0)
            default: Int(short & 0x7F)
            }
        #expect(length == size)
        #expect(out.readBytes(length: 4) == [0x12, 0x34, 0x56, 0x78])
        let key: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        let unmasked = (out.readBytes(length: size) ?? []).enumerated().map { $1 ^ key[$0 % 4] }
        #expect(unmasked == Array(payload.readableBytesView))
        #expect(out.readableBytes == 0)
    }

    @Test("Server frames come out whole however the stream is cut", arguments: [BenchCarrier.websocket, .tcp], [1, 2, 3, 7, 1000])
    func fragments(carrier: BenchCarrier, piece: Int) throws {
        let messages = [ByteBuffer(string: "a"), ByteBuffer(string: String(repeating: "b", count: 300)), ByteBuffer(string: "")]
        var stream = ByteBuffer()
        for message in messages { Self.writeServerMessage(message, carrier: carrier, into: &stream) }
        var framing = ClientFraming(carrier: carrier)
        var got: [ClientFraming.Inbound] = []
        while let slice = stream.readSlice(length: max(1, min(piece, stream.readableBytes))) {
            framing.append(slice)
            while let inbound = try framing.next() { got.append(inbound) }
        }
        #expect(got == messages.map { .message($0) })
    }

    @Test("A close frame gives its code and reason, a ping its payload")
    func control() throws {
        var framing = ClientFraming(carrier: .websocket)
        framing.append(ByteBuffer(bytes: [0x89, 2, 7, 8, 0x88, 6, 0x10, 0x05] + Array("slow".utf8)))
        #expect(try framing.next() == .ping(ByteBuffer(bytes: [7, 8])))
        #expect(try framing.next() == .close(code: 0x1005, reason: "slow"))
    }

    @Test("Fragments, masked frames and absurd lengths from a server are refused")
    func refused() {
        let bad: [[UInt8]] = [[0x02, 1, 0], [0x82, 0x81, 0], [0xC2, 1, 0], [0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0]]
        for bytes in bad {
            var framing = ClientFraming(carrier: .websocket)
            framing.append(ByteBuffer(bytes: bytes))
            #expect(throws: ClientFraming.Violation.self) { try framing.next() }
        }
        var framing = ClientFraming(carrier: .tcp)
        framing.append(ByteBuffer(bytes: [0xFF, 0xFF, 0xFF, 0xFF]))
        #expect(throws: ClientFraming.Violation.self) { try framing.next() }
    }

    @Test("The upgrade is accepted only with the right answer and subprotocol; bytes behind it are kept")
    func handshake() throws {
        let good = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        var partial = ByteBuffer(string: good)
        #expect(try !WebSocketHandshake.takeResponse(from: &partial))
        var whole = ByteBuffer(string: good + "sec-websocket-protocol: apus.v1.proto\r\n\r\nrest")
        #expect(try WebSocketHandshake.takeResponse(from: &whole))
        #expect(String(buffer: whole) == "rest")
        for answer in [
            "HTTP/1.1 403 Forbidden\r\n\r\n", good + "\r\n", good + "Sec-WebSocket-Protocol: apus.v1.json\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: apus.v1.proto\r\n\r\n",
        ] {
            var bytes = ByteBuffer(string: answer)
            #expect(throws: ClientFraming.Violation.self) { try WebSocketHandshake.takeResponse(from: &bytes) }
        }
    }

    private static func writeServerMessage(_ message: ByteBuffer, carrier: BenchCarrier, into stream: inout ByteBuffer) {
        switch carrier {
        case .websocket where message.readableBytes < 126: stream.writeBytes([0x82, UInt8(message.readableBytes)])
        case .websocket:
            stream.writeBytes([0x82, 126])
            stream.writeInteger(UInt16(message.readableBytes))
        case .tcp: stream.writeInteger(UInt32(message.readableBytes))
        }
        stream.writeImmutableBuffer(message)
    }
}
