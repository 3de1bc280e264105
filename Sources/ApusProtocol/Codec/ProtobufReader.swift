import Foundation
import NIOCore

/// Reads the hot frames from protobuf's wire format without a message tree: in any order of fields, repeated and unknown ones
/// included. Returns nil for every frame that is another one, unusual (groups, several bodies, known fields of another type)
/// or damaged: SwiftProtobuf decides what those mean, so there is one opinion about every frame.
enum ProtobufReader {
    /// The frame if it is a `send` and nothing else.
    static func send(in bytes: ByteBuffer) -> SendFrame? { try? usualSend(in: bytes) }

    /// The frame if it is an `entry` or an `ack` and nothing else.
    static func hotServerFrame(in bytes: ByteBuffer) -> InboundServerFrame? { try? usualServerFrame(in: bytes) }

    private static func usualSend(in bytes: ByteBuffer) throws -> SendFrame? {
        try bytes.withUnsafeReadableBytes { raw in
            guard let envelope = try Envelope(raw), envelope.tag == 3 else { return nil }
            var frame = SendFrame(ref: envelope.ref, conversation: ConversationID(0), clientID: "", body: "")
            var cursor = WireCursor(envelope.body)
            while let field = try cursor.next() {
                switch (field.tag, field.value) {
                case (1, .varint(let value)): frame.conversation = ConversationID(value)
                case (2, .bytes(let bytes)): frame.clientID = try text(bytes)
                case (3, .bytes(let bytes)): frame.kind = try kind(bytes, emptyMeans: .text)
                case (4, .bytes(let bytes)): frame.body = try text(bytes)
                case (5, .varint(let value)): frame.deliverAt = time(value)
                default: try rejectKnown(field, through: 5)
                }
            }
            return frame
        }
    }

    private static func usualServerFrame(in bytes: ByteBuffer) throws -> InboundServerFrame? {
        try bytes.withUnsafeReadableBytes { raw in
            guard let envelope = try Envelope(raw) else { return nil }
            switch envelope.tag {
            case 3: return .ack(try ack(envelope))
            case 4: return .entry(try entry(envelope.body))
            default: return nil
            }
        }
    }

    private static func ack(_ envelope: Envelope) throws -> AckFrame {
        var frame = AckFrame(
            ref: envelope.ref, conversation: ConversationID(0), clientID: "", id: EntryID(0), seq: 0, at: Timestamp(milliseconds: 0))
        var cursor = WireCursor(envelope.body)
        while let field = try cursor.next() {
            switch (field.tag, field.value) {
            case (1, .varint(let value)): frame.conversation = ConversationID(value)
            case (2, .bytes(let bytes)): frame.clientID = try text(bytes)
            case (3, .varint(let value)): frame.id = EntryID(value)
            case (4, .varint(let value)): frame.seq = value
            case (5, .varint(let value)): frame.at = Timestamp(milliseconds: Int64(bitPattern: value))
            case (6, .varint(let value)): frame.deliverAt = time(value)
            default: try rejectKnown(field, through: 6)
            }
        }
        return frame
    }

    private static func entry(_ body: UnsafeRawBufferPointer) throws -> Entry {
        var entry = Entry(
            conversation: ConversationID(0), seq: 0, id: EntryID(0), sender: AccountID(0), at: Timestamp(milliseconds: 0),
            kind: EntryKind(rawValue: ""), body: "")
        var cursor = WireCursor(body)
        while let field = try cursor.next() {
            switch (field.tag, field.value) {
            case (1, .varint(let value)): entry.conversation = ConversationID(value)
            case (2, .varint(let value)): entry.seq = value
            case (3, .varint(let value)): entry.id = EntryID(value)
            case (4, .varint(let value)): entry.sender = AccountID(value)
            case (5, .varint(let value)): entry.at = Timestamp(milliseconds: Int64(bitPattern: value))
            case (6, .bytes(let bytes)): entry.kind = try kind(bytes, emptyMeans: EntryKind(rawValue: ""))
            case (7, .bytes(let bytes)): entry.body = try text(bytes)
            default: try rejectKnown(field, through: 7)
            }
        }
        return entry
    }

    /// `String(validating:)` looks its generic types up at every call; this is three times as fast. What is no UTF-8 is replaced, and
    /// then the text has other bytes.
    private static func text(_ bytes: UnsafeRawBufferPointer) throws -> String {
        var text = String(decoding: bytes, as: UTF8.self)
        let isSame = text.withUTF8 { utf8 in
            guard utf8.count == bytes.count, let start = bytes.baseAddress else { return utf8.count == bytes.count }
            return utf8.baseAddress.map { memcmp($0, start, bytes.count) == 0 } ?? true
        }
        guard isSame else { throw FrameError.undecodable("text is not UTF-8") }
        return text
    }

    /// The usual kind costs no allocation.
    private static func kind(_ bytes: UnsafeRawBufferPointer, emptyMeans: EntryKind) throws -> EntryKind {
        if bytes.isEmpty { return emptyMeans }
        return EntryKind(rawValue: try text(bytes))
    }

    private static func time(_ value: UInt64) -> Timestamp? {
        value == 0 ? nil : Timestamp(milliseconds: Int64(bitPattern: value))
    }

    /// A field that we know, in a wire type that we do not expect there.
    private static func rejectKnown(_ field: WireField, through last: UInt64) throws {
        guard field.tag > last else { throw FrameError.undecodable("field \(field.tag) has another type") }
    }
}

/// The outer message of a frame: a ref and one body. Nil when the frame has another shape (several bodies, unknown fields):
/// those are rare and SwiftProtobuf decides what they mean.
private struct Envelope {
    var ref: UInt32 = 0
    var tag: UInt64 = 0
    var body = UnsafeRawBufferPointer(start: nil, count: 0)

    init?(_ raw: UnsafeRawBufferPointer) throws {
        var cursor = WireCursor(raw)
        while let field = try cursor.next() {
            switch (field.tag, field.value) {
            case (1, .varint(let value)): ref = UInt32(truncatingIfNeeded: value)
            case (2..., .bytes(let bytes)) where tag == 0:
                tag = field.tag
                body = bytes
            default: return nil
            }
        }
        if tag == 0 { return nil }
    }
}

private struct WireField {
    enum Value {
        case varint(UInt64)
        case bytes(UnsafeRawBufferPointer)
        case fixed
    }

    var tag: UInt64
    var value: Value
}

/// Walks the fields of one message. Every read is checked against the end of the buffer.
private struct WireCursor {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func next() throws -> WireField? {
        guard offset < bytes.count else { return nil }
        let key = try varint()
        let tag = key >> 3
        guard tag >= 1, tag <= 0x1FFF_FFFF else { throw FrameError.undecodable("field number \(tag)") }
        switch key & 7 {
        case 0: return WireField(tag: tag, value: .varint(try varint()))
        case 1:
            try skip(8)
            return WireField(tag: tag, value: .fixed)
        case 2:
            let count = try varint()
            guard count <= UInt64(bytes.count - offset) else { throw FrameError.undecodable("truncated") }
            let slice = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + Int(count)])
            offset += Int(count)
            return WireField(tag: tag, value: .bytes(slice))
        case 5:
            try skip(4)
            return WireField(tag: tag, value: .fixed)
        default: throw FrameError.undecodable("wire type \(key & 7)")
        }
    }

    private mutating func skip(_ count: Int) throws {
        guard count <= bytes.count - offset else { throw FrameError.undecodable("truncated") }
        offset += count
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64 {
            guard offset < bytes.count else { throw FrameError.undecodable("truncated") }
            let byte = bytes[offset]
            offset += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
        throw FrameError.undecodable("varint of more than 64 bits")
    }
}
