import ApusProtocol
import NIOCore
import Testing

@testable import ApusServer

@Suite("WebSocket frames of a client")
struct WebSocketParserTests {
    /// A frame as a client sends it, masked.
    static func frame(_ first: UInt8, _ payload: [UInt8], mask: UInt32 = 0x1234_5678, claimedSize: Int? = nil) -> [UInt8] {
        let size = claimedSize ?? payload.count
        var bytes: [UInt8] = [first]
        if size < 126 {
            bytes.append(0x80 | UInt8(size))
        } else if size < 65_536 {
            bytes += [0xFE, UInt8(size >> 8), UInt8(size & 0xFF)]
        } else {
            bytes.append(0xFF)
            bytes += (0..<8).map { UInt8(truncatingIfNeeded: UInt64(size) >> (56 - 8 * $0)) }
        }
        let key = (0..<4).map { UInt8(truncatingIfNeeded: mask >> (24 - 8 * $0)) }
        return bytes + key + payload.enumerated().map { $1 ^ key[$0 & 3] }
    }

    static func events(_ bytes: [UInt8], pieces: Int, max: Int = 1000) -> [WebSocketEvent] {
        var parser = WebSocketParser(messageBytesMax: max)
        var events: [WebSocketEvent] = []
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            parser.feed(ByteBuffer(bytes: bytes[start..<min(start + pieces, bytes.count)]))
            while let event = parser.next() { events.append(event) }
        }
        return events
    }

    @Test("messages arrive whole however the bytes are cut", arguments: [1, 2, 3, 7, 16, 10_000])
    func cuts(pieces: Int) {
        let long = [UInt8](repeating: 0x61, count: 300)
        let bytes =
            Self.frame(0x82, [1, 2, 3]) + Self.frame(0x81, Array("héllo".utf8)) + Self.frame(0x89, [9]) + Self.frame(0x82, long)
            + Self.frame(0x82, []) + Self.frame(0x8A, [])
        #expect(
            Self.events(bytes, pieces: pieces) == [
                .message(ByteBuffer(bytes: [1, 2, 3]), isText: false), .message(ByteBuffer(string: "héllo"), isText: true),
                .ping(ByteBuffer(bytes: [9])), .message(ByteBuffer(bytes: long), isText: false), .message(ByteBuffer(), isText: false),
                .pong,
            ])
    }

    @Test("fragments become one message, with control frames in between")
    func fragments() {
        let bytes =
            Self.frame(0x01, Array("he".utf8)) + Self.frame(0x89, []) + Self.frame(0x00, Array("ll".utf8))
            + Self.frame(0x80, Array("o".utf8))
        #expect(Self.events(bytes, pieces: 5) == [.ping(ByteBuffer()), .message(ByteBuffer(string: "hello"), isText: true)])
    }

    @Test("a character may be cut by a fragment, a bad one ends the connection at its fragment")
    func textAcrossFragments() {
        let euro = Array("€".utf8)
        let fine = Self.frame(0x01, [euro[0]]) + Self.frame(0x00, [euro[1]]) + Self.frame(0x80, [euro[2]])
        #expect(Self.events(fine, pieces: 100) == [.message(ByteBuffer(string: "€"), isText: true)])
        let bad = Self.frame(0x01, [0xED, 0xA0])
        #expect(Self.events(bad, pieces: 100) == [.violation(.invalidPayload, "text is not UTF-8")])
        let unfinished = Self.frame(0x81, [euro[0]])
        #expect(Self.events(unfinished, pieces: 100) == [.violation(.invalidPayload, "text is not UTF-8")])
    }

    @Test(
        "what breaks the protocol ends the connection with the right code",
        arguments: [
            ([0x82, 0x01, 0x00], CloseCode.protocolError),  // not masked
            (frame(0xC2, []), .protocolError),  // reserved bit
            (frame(0x83, []), .protocolError),  // reserved opcode
            (frame(0x09, []), .protocolError),  // fragmented control frame
            (frame(0x89, [UInt8](repeating: 0, count: 126)), .protocolError),
            (frame(0x80, [1]), .protocolError),  // continuation of nothing
            (frame(0x01, []) + frame(0x81, []), .protocolError),  // message within a message
            (frame(0x82, [], claimedSize: 1001), .messageTooBig),
            (frame(0x02, [UInt8](repeating: 0, count: 600)) + frame(0x80, [], claimedSize: 401), .messageTooBig),
            (frame(0x82, [], claimedSize: .max), .messageTooBig),
            (frame(0x88, [1]), .protocolError),
            (frame(0x88, [0x03, 0xED]), .protocolError),  // 1005
            (frame(0x88, [0x03, 0xE8, 0xFF]), .invalidPayload),
        ])
    func violations(bytes: [UInt8], code: CloseCode) {
        guard case .violation(let found, _) = Self.events(bytes, pieces: 1).last else {
            Issue.record("no violation")
            return
        }
        #expect(found == code)
    }

    @Test("nothing is read after a close")
    func close() {
        let bytes = Self.frame(0x88, [0x03, 0xE8]) + Self.frame(0x82, [1])
        #expect(Self.events(bytes, pieces: 100) == [.close(code: 1000)])
        #expect(Self.events(Self.frame(0x88, []), pieces: 100) == [.close(code: nil)])
    }
}

@Suite("UTF-8 in pieces")
struct UTF8ValidatorTests {
    @Test("agrees with the standard library on every sequence of up to three bytes that begins a character")
    func oracle() {
        for first in UInt8(0x7F)...0xFF {
            for second in stride(from: UInt8(0x70), through: 0xD0, by: 0x0F) {
                for third in [UInt8(0x00), 0x7F, 0x80, 0xBF, 0xC0] {
                    let bytes = [first, second, third]
                    var validator = UTF8Validator()
                    let valid = bytes.withUnsafeBytes { validator.consume($0) } && validator.isAtBoundary
                    #expect(valid == (String(validating: bytes, as: UTF8.self) != nil), "\(bytes)")
                }
            }
        }
    }

    @Test("four-byte characters end at U+10FFFF")
    func planes() {
        for (bytes, isValid) in [
            ([UInt8]([0xF4, 0x8F, 0xBF, 0xBF]), true), ([0xF4, 0x90, 0x80, 0x80], false), ([0xF0, 0x8F, 0x80, 0x80], false),
            ([0xF0, 0x9F, 0x98, 0x80], true), ([0xF5, 0x80, 0x80, 0x80], false),
        ] {
            var validator = UTF8Validator()
            #expect((bytes.withUnsafeBytes { validator.consume($0) } && validator.isAtBoundary) == isValid)
        }
    }
}

@Suite("WebSocket handshake")
struct WebSocketHandshakeTests {
    static let request = """
        GET /v1/socket?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, apus.v1.json\r\n\r\n
        """

    static func shake(_ request: String, pieces: Int = 1000) -> WebSocketHandshake.Outcome {
        var handshake = WebSocketHandshake(policy: .init(path: "/v1/socket", subprotocols: ["apus.v1.proto", "apus.v1.json"]))
        var outcome = WebSocketHandshake.Outcome.needsMore
        let bytes = Array(request.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            outcome = handshake.feed(ByteBuffer(bytes: bytes[start..<min(start + pieces, bytes.count)]))
            if outcome != .needsMore { break }
        }
        return outcome
    }

    @Test("the example of RFC 6455 is accepted, in pieces of 16 bytes too", arguments: [1, 16, 1000])
    func accepted(pieces: Int) {
        guard case .accepted(let response, let subprotocol, let rest) = Self.shake(Self.request, pieces: pieces) else {
            Issue.record("not accepted")
            return
        }
        #expect(String(buffer: response).contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
        #expect(subprotocol == "apus.v1.json")
        #expect(rest.readableBytes == 0)
    }

    @Test("bytes after the request belong to the first frame")
    func rest() {
        guard case .accepted(_, _, let rest) = Self.shake(Self.request + "abc") else {
            Issue.record("not accepted")
            return
        }
        #expect(String(buffer: rest) == "abc")
    }

    @Test(
        "what is no handshake is refused with its status",
        arguments: [
            ("/v1/socket?x=1", "/other", "404"), ("GET", "POST", "405"), ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Upgrade: WebSocket", "Upgrade: h2c", "426"), ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"), ("apus.v1.json", "apus.v9", "400"),
            ("Host: a", "Host: " + String(repeating: "a", count: 9000), "431"), ("Host: a", ": a", "400"),
        ])
    func refused(old: String, new: String, status: String) {
        let request = Self.request.replacing(old, with: new)
        guard case .refused(let response) = Self.shake(request, pieces: 16) else {
            Issue.record("not refused")
            return
        }
        #expect(String(buffer: response).hasPrefix("HTTP/1.1 \(status) "))
    }
}
