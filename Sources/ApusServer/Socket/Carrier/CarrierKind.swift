import ApusProtocol
import NIOCore

/// How messages travel: one set of messages, three carriers.
enum CarrierKind: Int, CaseIterable, Sendable {
    case webSocketProtobuf
    case webSocketJSON
    case tcp

    var encoding: FrameEncoding {
        switch self {
        case .webSocketProtobuf, .tcp: .protobuf
        case .webSocketJSON: .json
        }
    }

    /// A message with everything around it, ready for the socket.
    /// - Parameter sizeHint: bytes that the message will about have.
    func frame(sizeHint: Int, _ write: (inout ByteBuffer) throws -> Void) rethrows -> ByteBuffer {
        // The header's length depends on the message's: it is written last, right before the message.
        let reserved = WebSocketWriter.headerBytesMax
        var buffer = ByteBuffer()
        buffer.reserveCapacity(reserved + sizeHint)
        buffer.writeRepeatingByte(0, count: reserved)
        buffer.moveReaderIndex(to: reserved)
        try write(&buffer)
        let size = buffer.readableBytes
        switch self {
        case .webSocketProtobuf: Self.prepend(.binary, size: size, to: &buffer)
        case .webSocketJSON: Self.prepend(.text, size: size, to: &buffer)
        case .tcp:
            buffer.setInteger(UInt32(size), at: reserved - 4)
            buffer.moveReaderIndex(to: reserved - 4)
        }
        return buffer
    }

    private static func prepend(_ opcode: WebSocketWriter.Opcode, size: Int, to buffer: inout ByteBuffer) {
        let end = WebSocketWriter.headerBytesMax
        let start = end - (size < 126 ? 2 : size < 65_536 ? 4 : 10)
        buffer.setInteger(opcode.rawValue, at: start)
        switch end - start {
        case 2: buffer.setInteger(UInt8(size), at: start + 1)
        case 4:
            buffer.setInteger(UInt8(126), at: start + 1)
            buffer.setInteger(UInt16(size), at: start + 2)
        default:
            buffer.setInteger(UInt8(127), at: start + 1)
            buffer.setInteger(UInt64(size), at: start + 2)
        }
        buffer.moveReaderIndex(to: start)
    }
}
