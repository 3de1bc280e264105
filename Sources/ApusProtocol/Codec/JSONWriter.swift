import NIOCore

/// Writes the hot frames in the proto3 JSON mapping: 64-bit numbers are strings, default values are left out.
enum JSONWriter {
    static func write(_ send: SendFrame, into buffer: inout ByteBuffer) {
        open("send", ref: send.ref, into: &buffer)
        var object = ObjectWriter()
        object.field("conversation", send.conversation.rawValue, into: &buffer)
        object.field("clientId", send.clientID, into: &buffer)
        object.field("kind", send.kind == .text ? "" : send.kind.rawValue, into: &buffer)
        object.field("body", send.body, into: &buffer)
        object.field("deliverAt", send.deliverAt?.milliseconds ?? 0, into: &buffer)
        buffer.writeStaticString("}}")
    }

    static func write(_ ack: AckFrame, into buffer: inout ByteBuffer) {
        open("ack", ref: ack.ref, into: &buffer)
        var object = ObjectWriter()
        object.field("conversation", ack.conversation.rawValue, into: &buffer)
        object.field("clientId", ack.clientID, into: &buffer)
        object.field("id", ack.id.rawValue, into: &buffer)
        object.field("seq", ack.seq, into: &buffer)
        object.field("at", ack.at.milliseconds, into: &buffer)
        object.field("deliverAt", ack.deliverAt?.milliseconds ?? 0, into: &buffer)
        buffer.writeStaticString("}}")
    }

    static func write(_ entry: Entry, into buffer: inout ByteBuffer) {
        open("entry", ref: 0, into: &buffer)
        var object = ObjectWriter()
        object.field("conversation", entry.conversation.rawValue, into: &buffer)
        object.field("seq", entry.seq, into: &buffer)
        object.field("id", entry.id.rawValue, into: &buffer)
        object.field("sender", entry.sender.rawValue, into: &buffer)
        object.field("at", entry.at.milliseconds, into: &buffer)
        object.field("kind", entry.kind.rawValue, into: &buffer)
        object.field("body", entry.body, into: &buffer)
        buffer.writeStaticString("}}")
    }

    private static func open(_ body: StaticString, ref: UInt32, into buffer: inout ByteBuffer) {
        buffer.writeStaticString("{")
        if ref != 0 {
            buffer.writeStaticString("\"ref\":")
            buffer.writeString(String(ref))
            buffer.writeStaticString(",")
        }
        buffer.writeStaticString("\"")
        buffer.writeStaticString(body)
        buffer.writeStaticString("\":{")
    }
}

/// The fields of one JSON object whose names need no escaping.
private struct ObjectWriter {
    private var isFirst = true

    mutating func field(_ name: StaticString, _ value: some FixedWidthInteger, into buffer: inout ByteBuffer) {
        guard value != 0 else { return }
        key(name, into: &buffer)
        buffer.writeStaticString("\"")
        buffer.writeString(String(value))
        buffer.writeStaticString("\"")
    }

    mutating func field(_ name: StaticString, _ value: String, into buffer: inout ByteBuffer) {
        guard !value.isEmpty else { return }
        key(name, into: &buffer)
        buffer.writeJSONString(value)
    }

    private mutating func key(_ name: StaticString, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(isFirst ? "\"" : ",\"")
        isFirst = false
        buffer.writeStaticString(name)
        buffer.writeStaticString("\":")
    }
}

extension ByteBuffer {
    /// Writes a string literal of RFC 8259. Copies runs that need no escape in one piece.
    mutating func writeJSONString(_ text: String) {
        writeStaticString("\"")
        var text = text
        text.withUTF8 { bytes in
            var start = 0
            for (index, byte) in bytes.enumerated() where byte < 0x20 || byte == 0x22 || byte == 0x5C {
                writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[start..<index]))
                writeEscape(byte)
                start = index + 1
            }
            writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[start...]))
        }
        writeStaticString("\"")
    }

    private mutating func writeEscape(_ byte: UInt8) {
        switch byte {
        case 0x22: writeStaticString("\\\"")
        case 0x5C: writeStaticString("\\\\")
        case 0x0A: writeStaticString("\\n")
        case 0x0D: writeStaticString("\\r")
        case 0x09: writeStaticString("\\t")
        default:
            let digits = Array("0123456789abcdef".utf8)
            writeStaticString("\\u00")
            writeInteger(digits[Int(byte >> 4)])
            writeInteger(digits[Int(byte & 15)])
        }
    }
}
