import ApusProtocol
import ArgumentParser
import NIOCore

/// What carries the frames of a benchmark session. Both carry the protobuf encoding.
enum BenchCarrier: String, Codable, CaseIterable, Sendable, ExpressibleByArgument {
    case websocket
    case tcp
}

/// The client's side of a carrier as a value: bytes in, messages out; messages in, bytes out. Leaner than a general WebSocket
/// client, because the load generator shares the machine with the server that it measures: no fragmented messages (Apus sends
/// none), no extensions.
struct ClientFraming {
    enum Inbound: Equatable {
        case message(ByteBuffer)
        case ping(ByteBuffer)
        case close(code: UInt16, reason: String)
    }

    struct Violation: Error, Equatable, CustomStringConvertible {
        var description: String
    }

    static let messageBytesMax = 16 << 20

    let carrier: BenchCarrier
    private var received = ByteBuffer()

    init(carrier: BenchCarrier) { self.carrier = carrier }

    mutating func append(_ bytes: ByteBuffer) {
        guard received.readableBytes > 0 else {
            received = bytes
            return
        }
        received.writeImmutableBuffer(bytes)
    }

    /// The next complete message; nil: more bytes are needed.
    mutating func next() throws(Violation) -> Inbound? {
        switch carrier {
        case .websocket: try nextWebSocketFrame()
        case .tcp: try nextLengthPrefixed()
        }
    }

    private mutating func nextLengthPrefixed() throws(Violation) -> Inbound? {
        guard let length = received.getInteger(at: received.readerIndex, as: UInt32.self) else { return nil }
        guard length <= Self.messageBytesMax else { throw Violation(description: "a message of \(length) bytes") }
        guard received.readableBytes >= 4 + Int(length) else { return nil }
        received.moveReaderIndex(forwardBy: 4)
        return received.readSlice(length: Int(length)).map { .message($0) }
    }

    private mutating func nextWebSocketFrame() throws(Violation) -> Inbound? {
        let start = received.readerIndex
        guard let head = received.getInteger(at: start, as: UInt16.self) else { return nil }
        guard head & 0x8000 != 0, head & 0x7000 == 0 else { throw Violation(description: "a fragmented or extended frame") }
        guard head & 0x0080 == 0 else { throw Violation(description: "a masked frame from the server") }
        var header = 2
        var length = Int(head & 0x007F)
        if length == 126 {
            guard let long = received.getInteger(at: start + 2, as: UInt16.self) else { return nil }
            (header, length) = (4, Int(long))
        } else if length == 127 {
            guard let long = received.getInteger(at: start + 2, as: UInt64.self) else { return nil }
            guard long <= Self.messageBytesMax else { throw Violation(description: "a message of \(long) bytes") }
            (header, length) = (10, Int(long))
        }
        guard received.readableBytes >= header + length else { return nil }
        received.moveReaderIndex(forwardBy: header)
        guard var payload = received.readSlice(length: length) else { return nil }
        switch (head >> 8) & 0x0F {
        case 1, 2: return .message(payload)
        case 8:
            let code = payload.readInteger(as: UInt16.self) ?? CloseCode.normal.rawValue
            return .close(code: code, reason: String(buffer: payload))
        case 9: return .ping(payload)
        case 10: return try nextWebSocketFrame()
        default: throw Violation(description: "opcode \((head >> 8) & 0x0F)")
        }
    }

    /// Appends a message to `out`, framed.
    func write(_ message: ByteBuffer, maskingKey: UInt32, into out: inout ByteBuffer) {
        switch carrier {
        case .websocket: writeWebSocketFrame(opcode: 2, message, maskingKey: maskingKey, into: &out)
        case .tcp:
            out.writeInteger(UInt32(message.readableBytes))
            out.writeImmutableBuffer(message)
        }
    }

    func writePong(_ payload: ByteBuffer, maskingKey: UInt32, into out: inout ByteBuffer) {
        writeWebSocketFrame(opcode: 10, payload, maskingKey: maskingKey, into: &out)
    }

    private func writeWebSocketFrame(opcode: UInt8, _ payload: ByteBuffer, maskingKey: UInt32, into out: inout ByteBuffer) {
        let length = payload.readableBytes
        out.reserveCapacity(minimumWritableBytes: length + 14)
        out.writeInteger(0x80 | opcode)
        if length < 126 {
            out.writeInteger(UInt8(0x80 | length))
        } else if length <= 0xFFFF {
            out.writeInteger(UInt8(0x80 | 126))
            out.writeInteger(UInt16(length))
        } else {
            out.writeInteger(UInt8(0x80 | 127))
            out.writeInteger(UInt64(length))
        }
        out.writeInteger(maskingKey)
        out.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { target in
            payload.withUnsafeReadableBytes { source in
                for index in 0..<length {
                    target[index] = source[index] ^ UInt8(truncatingIfNeeded: maskingKey >> UInt32(24 - 8 * (index & 3)))
                }
            }
            return length
        }
    }
}

/// The opening handshake of RFC 6455, client's side.
enum WebSocketHandshake {
    // A fixed key makes the expected answer a constant. The key protects caches between client and server from being fooled; a
    // load generator speaks to the server itself. Both values are the example of RFC 6455, section 1.3.
    private static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    private static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    private static let responseBytesMax = 8192

    static func request(host: String, path: String) -> String {
        """
        GET \(path) HTTP/1.1\r
        Host: \(host)\r
        Upgrade: websocket\r
        Connection: Upgrade\r
        Sec-WebSocket-Key: \(key)\r
        Sec-WebSocket-Version: 13\r
        Sec-WebSocket-Protocol: \(FrameEncoding.protobuf.subprotocol)\r
        \r

        """
    }

    /// Takes the response's head off `bytes`. False: it is not complete yet.
    static func takeResponse(from bytes: inout ByteBuffer) throws(ClientFraming.Violation) -> Bool {
        let view = bytes.readableBytesView
        guard let end = view.firstRange(of: Array("\r\n\r\n".utf8)) else {
            guard bytes.readableBytes <= responseBytesMax else { throw .init(description: "an endless answer to the upgrade") }
            return false
        }
        let lines = String(decoding: view[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        bytes.moveReaderIndex(to: end.upperBound)
        guard let status = lines.first, status.hasPrefix("HTTP/1.1 101") else {
            throw .init(description: "the upgrade was refused: \(lines.first ?? "no status line")")
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            headers[parts[0].lowercased()] = String(parts[1].drop { $0 == " " })
        }
        guard headers["sec-websocket-accept"] == accept else { throw .init(description: "a wrong Sec-WebSocket-Accept") }
        guard headers["sec-websocket-protocol"] == FrameEncoding.protobuf.subprotocol else {
            throw .init(description: "the server did not select \(FrameEncoding.protobuf.subprotocol)")
        }
        return true
    }
}
