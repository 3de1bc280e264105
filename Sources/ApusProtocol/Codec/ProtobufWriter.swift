import NIOCore

/// Writes the hot frames in protobuf's wire format. Fields go in the order of their numbers and default values are left
/// out, so the bytes are the ones that SwiftProtobuf writes.
enum ProtobufWriter {
    static func write(_ send: SendFrame, into buffer: inout ByteBuffer) {
        // "text" is what an empty kind means.
        let kind = send.kind == .text ? "" : send.kind.rawValue
        let deliverAt = UInt64(bitPattern: send.deliverAt?.milliseconds ?? 0)
        let size =
            sizeOf(send.conversation.rawValue) + sizeOf(send.clientID) + sizeOf(kind) + sizeOf(send.body) + sizeOf(deliverAt)
        write(ref: send.ref, bodyTag: 3, size: size, into: &buffer) { fields in
            fields.write(send.conversation.rawValue, tag: 1)
            fields.write(send.clientID, tag: 2)
            fields.write(kind, tag: 3)
            fields.write(send.body, tag: 4)
            fields.write(deliverAt, tag: 5)
        }
    }

    static func write(_ ack: AckFrame, into buffer: inout ByteBuffer) {
        let at = UInt64(bitPattern: ack.at.milliseconds)
        let deliverAt = UInt64(bitPattern: ack.deliverAt?.milliseconds ?? 0)
        let size =
            sizeOf(ack.conversation.rawValue) + sizeOf(ack.clientID) + sizeOf(ack.id.rawValue) + sizeOf(ack.seq) + sizeOf(at)
            + sizeOf(deliverAt)
        write(ref: ack.ref, bodyTag: 3, size: size, into: &buffer) { fields in
            fields.write(ack.conversation.rawValue, tag: 1)
            fields.write(ack.clientID, tag: 2)
            fields.write(ack.id.rawValue, tag: 3)
            fields.write(ack.seq, tag: 4)
            fields.write(at, tag: 5)
            fields.write(deliverAt, tag: 6)
        }
    }

    static func write(_ entry: Entry, into buffer: inout ByteBuffer) {
        let at = UInt64(bitPattern: entry.at.milliseconds)
        let size =
            sizeOf(entry.conversation.rawValue) + sizeOf(entry.seq) + sizeOf(entry.id.rawValue) + sizeOf(entry.sender.rawValue)
            + sizeOf(at) + sizeOf(entry.kind.rawValue) + sizeOf(entry.body)
        write(ref: 0, bodyTag: 4, size: size, into: &buffer) { fields in
            fields.write(entry.conversation.rawValue, tag: 1)
            fields.write(entry.seq, tag: 2)
            fields.write(entry.id.rawValue, tag: 3)
            fields.write(entry.sender.rawValue, tag: 4)
            fields.write(at, tag: 5)
            fields.write(entry.kind.rawValue, tag: 6)
            fields.write(entry.body, tag: 7)
        }
    }

    /// Makes room once and writes straight to memory: a check of the buffer for each byte costs more than the frame.
    @inline(__always)
    private static func write(
        ref: UInt32, bodyTag: UInt8, size: Int, into buffer: inout ByteBuffer, _ fields: (inout FieldWriter) -> Void
    ) {
        // A ref takes at most 6 bytes, the body's tag and length at most 11.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: size + 17) { bytes in
            var writer = FieldWriter(bytes)
            writer.write(UInt64(ref), tag: 1)
            writer.writeByte(bodyTag << 3 | 2)
            writer.writeVarint(UInt64(size))
            fields(&writer)
            return writer.count
        }
    }

    // Every tag of the hot frames is below 16 and so takes one byte.

    private static func sizeOf(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + varintSize(value) }

    private static func sizeOf(_ text: String) -> Int {
        let count = text.utf8.count
        return count == 0 ? 0 : 1 + varintSize(UInt64(count)) + count
    }

    private static func varintSize(_ value: UInt64) -> Int { (70 - (value | 1).leadingZeroBitCount) / 7 }
}

/// Writes fields to memory that has room for them. The slices are bounds-checked: a wrong size traps, it does not overwrite.
private struct FieldWriter {
    private let bytes: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

    mutating func writeByte(_ byte: UInt8) {
        precondition(count < bytes.count)
        bytes[count] = byte
        count += 1
    }

    mutating func write(_ value: UInt64, tag: UInt8) {
        guard value != 0 else { return }
        writeByte(tag << 3)
        writeVarint(value)
    }

    mutating func write(_ text: String, tag: UInt8) {
        var text = text
        text.withUTF8 { utf8 in
            guard !utf8.isEmpty else { return }
            writeByte(tag << 3 | 2)
            writeVarint(UInt64(utf8.count))
            UnsafeMutableRawBufferPointer(rebasing: bytes[count..<count + utf8.count]).copyMemory(from: UnsafeRawBufferPointer(utf8))
            count += utf8.count
        }
    }

    mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeByte(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeByte(UInt8(truncatingIfNeeded: rest))
    }
}
