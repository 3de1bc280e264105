import NIOCore

/// Writes the hot frames in protobuf's wire format. Fields go in the order of their numbers and default values are left
/// out, so the bytes are the ones that SwiftProtobuf writes.
enum ProtobufWriter {
    static func write(_ send: SendFrame, into buffer: inout ByteBuffer) {
        // "text" is what an empty kind means.
        let kind = send.kind == .text ? "" : send.kind.rawValue
        let size =
            sizeOf(send.conversation.rawValue) + sizeOf(send.clientID) + sizeOf(kind) + sizeOf(send.body)
            + sizeOf(send.deliverAt?.milliseconds)
        writeHeader(ref: send.ref, bodyTag: 3, size: size, into: &buffer)
        write(send.conversation.rawValue, tag: 1, into: &buffer)
        write(send.clientID, tag: 2, into: &buffer)
        write(kind, tag: 3, into: &buffer)
        write(send.body, tag: 4, into: &buffer)
        write(UInt64(bitPattern: send.deliverAt?.milliseconds ?? 0), tag: 5, into: &buffer)
    }

    static func write(_ ack: AckFrame, into buffer: inout ByteBuffer) {
        let size =
            sizeOf(ack.conversation.rawValue) + sizeOf(ack.clientID) + sizeOf(ack.id.rawValue) + sizeOf(ack.seq)
            + sizeOf(ack.at.milliseconds) + sizeOf(ack.deliverAt?.milliseconds)
        writeHeader(ref: ack.ref, bodyTag: 3, size: size, into: &buffer)
        write(ack.conversation.rawValue, tag: 1, into: &buffer)
        write(ack.clientID, tag: 2, into: &buffer)
        write(ack.id.rawValue, tag: 3, into: &buffer)
        write(ack.seq, tag: 4, into: &buffer)
        write(UInt64(bitPattern: ack.at.milliseconds), tag: 5, into: &buffer)
        write(UInt64(bitPattern: ack.deliverAt?.milliseconds ?? 0), tag: 6, into: &buffer)
    }

    static func write(_ entry: Entry, into buffer: inout ByteBuffer) {
        let size =
            sizeOf(entry.conversation.rawValue) + sizeOf(entry.seq) + sizeOf(entry.id.rawValue) + sizeOf(entry.sender.rawValue)
            + sizeOf(entry.at.milliseconds) + sizeOf(entry.kind.rawValue) + sizeOf(entry.body)
        writeHeader(ref: 0, bodyTag: 4, size: size, into: &buffer)
        write(entry.conversation.rawValue, tag: 1, into: &buffer)
        write(entry.seq, tag: 2, into: &buffer)
        write(entry.id.rawValue, tag: 3, into: &buffer)
        write(entry.sender.rawValue, tag: 4, into: &buffer)
        write(UInt64(bitPattern: entry.at.milliseconds), tag: 5, into: &buffer)
        write(entry.kind.rawValue, tag: 6, into: &buffer)
        write(entry.body, tag: 7, into: &buffer)
    }

    private static func writeHeader(ref: UInt32, bodyTag: UInt8, size: Int, into buffer: inout ByteBuffer) {
        buffer.reserveCapacity(minimumWritableBytes: size + 16)
        write(UInt64(ref), tag: 1, into: &buffer)
        buffer.writeInteger(bodyTag << 3 | 2)
        writeVarint(UInt64(size), into: &buffer)
    }

    // Every tag of the hot frames is below 16 and so takes one byte.

    private static func sizeOf(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + varintSize(value) }

    private static func sizeOf(_ value: Int64?) -> Int { sizeOf(UInt64(bitPattern: value ?? 0)) }

    private static func sizeOf(_ text: String) -> Int {
        let count = text.utf8.count
        return count == 0 ? 0 : 1 + varintSize(UInt64(count)) + count
    }

    private static func varintSize(_ value: UInt64) -> Int { (70 - (value | 1).leadingZeroBitCount) / 7 }

    private static func write(_ value: UInt64, tag: UInt8, into buffer: inout ByteBuffer) {
        guard value != 0 else { return }
        buffer.writeInteger(tag << 3)
        writeVarint(value, into: &buffer)
    }

    private static func write(_ text: String, tag: UInt8, into buffer: inout ByteBuffer) {
        let count = text.utf8.count
        guard count != 0 else { return }
        buffer.writeInteger(tag << 3 | 2)
        writeVarint(UInt64(count), into: &buffer)
        buffer.writeString(text)
    }

    private static func writeVarint(_ value: UInt64, into buffer: inout ByteBuffer) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 10) { bytes in
            var rest = value
            var count = 0
            while rest >= 0x80 {
                bytes[count] = UInt8(truncatingIfNeeded: rest) | 0x80
                rest >>= 7
                count += 1
            }
            bytes[count] = UInt8(truncatingIfNeeded: rest)
            return count + 1
        }
    }
}
