import ApusProtocol
import NIOCore
import SwiftProtobuf
import Testing

/// The codecs written by hand say the same as SwiftProtobuf.
@Suite struct FrameCodecTests {
    private static let rounds = 600

    @Test("a send is written as SwiftProtobuf writes it, and both read it back", arguments: FrameEncoding.allCases)
    func send(_ encoding: FrameEncoding) throws {
        var generator = FrameGenerator(seed: 1)
        for _ in 0..<Self.rounds {
            let send = generator.send()
            var buffer = ByteBuffer()
            encoding.encode(send, into: &buffer)
            let oracle = WireClientFrame(ref: send.ref, .send(WireSend(send)))
            try expectSame(buffer, oracle, encoding)
            for bytes in [buffer, try encoding.oracleBytes(oracle)] {
                guard case .send(let read) = try encoding.decodeClientFrame(bytes) else { Issue.record("not a send: \(bytes)"); return }
                try #require(read == send)
            }
        }
    }

    @Test("an ack is written as SwiftProtobuf writes it, and both read it back", arguments: FrameEncoding.allCases)
    func ack(_ encoding: FrameEncoding) throws {
        var generator = FrameGenerator(seed: 2)
        for _ in 0..<Self.rounds {
            let ack = generator.ack()
            var buffer = ByteBuffer()
            encoding.encode(ack, into: &buffer)
            let oracle = WireServerFrame(ref: ack.ref, .ack(WireAck(ack)))
            try expectSame(buffer, oracle, encoding)
            for bytes in [buffer, try encoding.oracleBytes(oracle)] {
                guard case .ack(let read) = try encoding.decodeServerFrame(bytes) else { Issue.record("not an ack: \(bytes)"); return }
                try #require(read == ack)
            }
        }
    }

    @Test("an entry is written as SwiftProtobuf writes it, and both read it back", arguments: FrameEncoding.allCases)
    func entry(_ encoding: FrameEncoding) throws {
        var generator = FrameGenerator(seed: 3)
        for _ in 0..<Self.rounds {
            let entry = generator.entry()
            var buffer = ByteBuffer()
            encoding.encode(entry, into: &buffer)
            let oracle = WireServerFrame(.entry(WireEntry(entry)))
            try expectSame(buffer, oracle, encoding)
            for bytes in [buffer, try encoding.oracleBytes(oracle)] {
                guard case .entry(let read) = try encoding.decodeServerFrame(bytes) else { Issue.record("not an entry: \(bytes)"); return }
                try #require(read == entry)
            }
        }
    }

    @Test("frames are appended to what the buffer holds")
    func appending() throws {
        var generator = FrameGenerator(seed: 4)
        for encoding in FrameEncoding.allCases {
            var buffer = ByteBuffer(string: "before")
            encoding.encode(generator.entry(), into: &buffer)
            #expect(buffer.readString(length: 6) == "before")
            _ = try encoding.decodeServerFrame(buffer)
        }
    }

    @Test("a kind that is left out means text", arguments: FrameEncoding.allCases)
    func emptyKind(_ encoding: FrameEncoding) throws {
        var wire = WireSend()
        wire.conversation = 7
        wire.body = "hello"
        let bytes = try encoding.oracleBytes(WireClientFrame(.send(wire)))
        guard case .send(let send) = try encoding.decodeClientFrame(bytes) else { Issue.record("not a send"); return }
        #expect(send.kind == .text)
        var buffer = ByteBuffer()
        encoding.encode(send, into: &buffer)
        #expect(buffer == bytes, "and is left out again")
    }

    @Test("fields that a newer peer sends are ignored")
    func unknownFields() throws {
        var generator = FrameGenerator(seed: 5)
        let send = generator.send()
        var buffer = ByteBuffer()
        FrameEncoding.protobuf.encode(send, into: &buffer)
        // Field 99 of every wire type, in the envelope.
        let unknown: [[UInt8]] = [
            [0x98, 0x06, 0x01], [0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8], [0x9A, 0x06, 2, 1, 2], [0x9B, 0x06, 0x08, 0x01, 0x9C, 0x06],
            [0x9D, 0x06, 1, 2, 3, 4],
        ]
        for field in unknown {
            for bytes in [Array(buffer.readableBytesView) + field, field + Array(buffer.readableBytesView)] {
                guard case .send(let read) = try FrameEncoding.protobuf.decodeClientFrame(ByteBuffer(bytes: bytes)) else {
                    Issue.record("not a send: \(bytes)")
                    return
                }
                #expect(read == send)
            }
        }
        let json = #"{"new": [1, {"a": null}], "send": {"conversation": "7", "body": "hello", "newer": {"x": 1}}, "ref": 3}"#
        guard case .send(let read) = try FrameEncoding.json.decodeClientFrame(ByteBuffer(string: json)) else {
            Issue.record("not a send")
            return
        }
        #expect(read == SendFrame(ref: 3, conversation: ConversationID(7), clientID: "", body: "hello"))
    }

    @Test("damaged protobuf from a client is read as SwiftProtobuf reads it, or refused as it refuses")
    func damagedClientFrames() throws {
        var generator = FrameGenerator(seed: 6)
        var accepted = 0
        for _ in 0..<20_000 {
            let bytes = generator.mutated(try protobuf(generator.send()), other: try protobuf(generator.send()))
            let oracle = try? WireClientFrame(serializedBytes: bytes)
            switch (oracle, try? FrameEncoding.protobuf.decodeClientFrame(ByteBuffer(bytes: bytes))) {
            case (nil, nil): break
            case (let frame?, .send(let send)?):
                guard case .send(let expected) = frame.body else { Issue.record("no send for SwiftProtobuf: \(bytes)"); return }
                try #require(send == SendFrame(expected, ref: frame.ref), "\(bytes)")
                accepted += 1
            case (let frame?, .other(let other)?): try #require(frame == other, "\(bytes)")
            case (let oracle, let read):
                Issue.record("SwiftProtobuf: \(String(describing: oracle)), by hand: \(String(describing: read)), \(bytes)")
                return
            }
        }
        #expect(accepted > 1000, "the mutations leave enough of a frame")
    }

    @Test("damaged protobuf from a server is read as SwiftProtobuf reads it, or refused as it refuses")
    func damagedServerFrames() throws {
        var generator = FrameGenerator(seed: 7)
        var accepted = 0
        for round in 0..<20_000 {
            let frames = [try protobuf(generator.entry()), try protobuf(generator.ack())]
            let bytes = generator.mutated(frames[round % 2], other: frames[round / 2 % 2])
            let oracle = try? WireServerFrame(serializedBytes: bytes)
            switch (oracle?.body, try? FrameEncoding.protobuf.decodeServerFrame(ByteBuffer(bytes: bytes))) {
            case (.entry(let expected)?, .entry(let entry)?):
                try #require(entry == Entry(expected), "\(bytes)")
                accepted += 1
            case (.ack(let expected)?, .ack(let ack)?):
                try #require(ack == AckFrame(expected, ref: oracle?.ref ?? 0), "\(bytes)")
                accepted += 1
            case (_, .other(let other)?): try #require(oracle == other, "\(bytes)")
            case (nil, nil) where oracle == nil: break
            case (let expected, let read):
                Issue.record("SwiftProtobuf: \(String(describing: expected)), by hand: \(String(describing: read)), \(bytes)")
                return
            }
        }
        #expect(accepted > 1000, "the mutations leave enough of a frame")
    }

    @Test("a frame that is cut off anywhere is read as SwiftProtobuf reads it, or refused as it refuses", arguments: FrameEncoding.allCases)
    func truncatedFrames(_ encoding: FrameEncoding) throws {
        var generator = FrameGenerator(seed: 8)
        for _ in 0..<20 {
            var buffer = ByteBuffer()
            encoding.encode(generator.send(), into: &buffer)
            for length in 0..<buffer.readableBytes {
                let bytes = Array(buffer.readableBytesView.prefix(length))
                let oracle = try? encoding.oracle(WireClientFrame.self, bytes)
                let read = try? encoding.decodeClientFrame(ByteBuffer(bytes: bytes))
                try #require((oracle == nil) == (read == nil), "\(bytes)")
            }
        }
    }

    @Test("text that is not UTF-8 is refused in both encodings")
    func invalidUTF8() {
        let broken: [[UInt8]] = [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]]
        for text in broken {
            let body = [UInt8(0x22), UInt8(text.count)] + text
            let protobuf = [UInt8(0x1A), UInt8(body.count)] + body
            #expect(throws: FrameError.self) { try FrameEncoding.protobuf.decodeClientFrame(ByteBuffer(bytes: protobuf)) }
            let json = Array(#"{"send":{"body":""#.utf8) + text + Array(#""}}"#.utf8)
            #expect(throws: FrameError.self) { try FrameEncoding.json.decodeClientFrame(ByteBuffer(bytes: json)) }
        }
    }

    @Test("deeply nested JSON is refused and does not run out of stack")
    func nesting() {
        let json = #"{"send":{"x":"# + String(repeating: "[", count: 100_000)
        #expect(throws: FrameError.self) { try FrameEncoding.json.decodeClientFrame(ByteBuffer(string: json)) }
    }

    private func protobuf(_ send: SendFrame) throws -> [UInt8] {
        var buffer = ByteBuffer()
        FrameEncoding.protobuf.encode(send, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    private func protobuf(_ entry: Entry) throws -> [UInt8] {
        var buffer = ByteBuffer()
        FrameEncoding.protobuf.encode(entry, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    private func protobuf(_ ack: AckFrame) throws -> [UInt8] {
        var buffer = ByteBuffer()
        FrameEncoding.protobuf.encode(ack, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    /// Protobuf is the same byte for byte; JSON may differ in its escapes, but not in what it says.
    private func expectSame<Frame: Message & Equatable>(_ buffer: ByteBuffer, _ oracle: Frame, _ encoding: FrameEncoding) throws {
        switch encoding {
        case .protobuf: try #require(try encoding.oracleBytes(oracle) == buffer)
        case .json: try #require(try encoding.oracle(Frame.self, Array(buffer.readableBytesView)) == oracle)
        }
    }
}

extension FrameEncoding {
    fileprivate func oracleBytes(_ frame: some Message) throws -> ByteBuffer {
        switch self {
        case .protobuf: ByteBuffer(bytes: try frame.serializedBytes() as [UInt8])
        case .json: ByteBuffer(bytes: try frame.jsonUTF8Bytes() as [UInt8])
        }
    }

    fileprivate func oracle<Frame: Message>(_ type: Frame.Type, _ bytes: [UInt8]) throws -> Frame {
        switch self {
        case .protobuf: try Frame(serializedBytes: bytes)
        case .json: try Frame(jsonUTF8Bytes: bytes)
        }
    }
}

extension WireSend {
    fileprivate init(_ send: SendFrame) {
        self.init()
        conversation = send.conversation.rawValue
        clientID = send.clientID
        kind = send.kind == .text ? "" : send.kind.rawValue
        body = send.body
        deliverAt = send.deliverAt?.milliseconds ?? 0
    }
}

extension WireAck {
    fileprivate init(_ ack: AckFrame) {
        self.init()
        conversation = ack.conversation.rawValue
        clientID = ack.clientID
        id = ack.id.rawValue
        seq = ack.seq
        at = ack.at.milliseconds
        deliverAt = ack.deliverAt?.milliseconds ?? 0
    }
}
