import ApusProtocol
import NIOCore

/// What a client says on an open WebSocket (RFC 6455).
enum WebSocketEvent: Equatable {
    case message(ByteBuffer, isText: Bool)
    case ping(ByteBuffer)
    case pong
    case close(code: UInt16?)
    /// The client broke the protocol; nothing after this is read.
    case violation(CloseCode, String)
}

/// Reads the frames of a client from whatever pieces arrive. Holds nothing between messages.
struct WebSocketParser {
    private enum Opcode: UInt8 {
        case continuation = 0
        case text = 1
        case binary = 2
        case close = 8
        case ping = 9
        case pong = 10
    }

    private struct Header {
        var isFinal: Bool
        var opcode: Opcode
        var size: Int
        var mask: UInt32
    }

    private struct Violation: Error {
        var code: CloseCode
        var reason: String
    }

    /// A message that comes in several frames.
    private struct Fragments {
        var isText: Bool
        var payload: ByteBuffer
        var validator = UTF8Validator()
    }

    var messageBytesMax: Int
    private var buffer: ByteBuffer?
    private var header: Header?
    private var fragments: Fragments?
    private var isOver = false

    init(messageBytesMax: Int) { self.messageBytesMax = messageBytesMax }

    mutating func feed(_ bytes: ByteBuffer) {
        if isOver { return }
        if buffer == nil {
            buffer = bytes
        } else {
            var bytes = bytes
            buffer?.writeBuffer(&bytes)
        }
    }

    /// The next complete event; nil when more bytes are needed.
    mutating func next() -> WebSocketEvent? {
        while !isOver {
            do {
                guard let payload = try nextFrame() else {
                    compact()
                    return nil
                }
                if let event = try event(of: payload.header, payload.bytes) { return event }
            } catch {
                isOver = true
                buffer = nil
                fragments = nil
                return .violation(error.code, error.reason)
            }
        }
        return nil
    }

    /// A partial frame moves to a buffer of its own size: the receive buffer has 8 kB.
    private mutating func compact() {
        guard let rest = buffer else { return }
        if rest.readableBytes == 0 {
            buffer = nil
        } else if rest.readerIndex > 0 {
            buffer = ByteBuffer(bytes: rest.readableBytesView)
        }
    }

    private mutating func nextFrame() throws(Violation) -> (header: Header, bytes: ByteBuffer)? {
        if header == nil { header = try readHeader() }
        guard let header, let available = buffer?.readableBytes, available >= header.size else { return nil }
        self.header = nil
        unmask(header)
        guard let payload = buffer?.readSlice(length: header.size) else { return nil }
        return (header, payload)
    }

    private mutating func readHeader() throws(Violation) -> Header? {
        guard let buffer, let first: UInt8 = buffer.getInteger(at: buffer.readerIndex),
            let second: UInt8 = buffer.getInteger(at: buffer.readerIndex + 1)
        else { return nil }
        guard first & 0x70 == 0 else { throw Violation(code: .protocolError, reason: "reserved bits are set") }
        guard let opcode = Opcode(rawValue: first & 0x0F) else { throw Violation(code: .protocolError, reason: "reserved opcode") }
        guard second & 0x80 != 0 else { throw Violation(code: .protocolError, reason: "frame is not masked") }
        let isFinal = first & 0x80 != 0
        let short = Int(second & 0x7F)
        if opcode.rawValue >= 8, !isFinal || short > 125 { throw Violation(code: .protocolError, reason: "bad control frame") }
        var offset = buffer.readerIndex + 2
        var size = short
        if short == 126 {
            guard let long: UInt16 = buffer.getInteger(at: offset) else { return nil }
            size = Int(long)
            offset += 2
        } else if short == 127 {
            guard let long: UInt64 = buffer.getInteger(at: offset) else { return nil }
            guard long <= UInt64(Int.max) else { throw Violation(code: .protocolError, reason: "frame length has its top bit set") }
            size = Int(long)
            offset += 8
        }
        let total = size.addingReportingOverflow(opcode.rawValue < 8 ? fragments?.payload.readableBytes ?? 0 : 0)
        guard !total.overflow, total.partialValue <= messageBytesMax else {
            throw Violation(code: .messageTooBig, reason: "message has more than \(messageBytesMax) bytes")
        }
        guard let mask: UInt32 = buffer.getInteger(at: offset) else { return nil }
        self.buffer?.moveReaderIndex(to: offset + 4)
        return Header(isFinal: isFinal, opcode: opcode, size: size, mask: mask)
    }

    private mutating func unmask(_ header: Header) {
        guard header.mask != 0 else { return }
        buffer?.withUnsafeMutableReadableBytes { bytes in
            let mask = header.mask.bigEndian
            let wide = UInt64(mask) << 32 | UInt64(mask)
            var index = 0
            while index + 8 <= header.size {
                let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                bytes.storeBytes(of: word ^ wide, toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < header.size {
                bytes[index] ^= UInt8(truncatingIfNeeded: mask >> (8 * UInt32(index & 3)))
                index += 1
            }
        }
    }

    private mutating func event(of header: Header, _ payload: ByteBuffer) throws(Violation) -> WebSocketEvent? {
        switch header.opcode {
        case .ping: return .ping(payload)
        case .pong: return .pong
        case .close:
            isOver = true
            return try close(payload)
        case .text, .binary:
            guard fragments == nil else { throw Violation(code: .protocolError, reason: "a message within a message") }
            let isText = header.opcode == .text
            if header.isFinal {
                if isText { try Self.requireUTF8(payload) }
                return .message(payload, isText: isText)
            }
            fragments = Fragments(isText: isText, payload: ByteBuffer())
            return try append(payload, isFinal: false)
        case .continuation:
            guard fragments != nil else { throw Violation(code: .protocolError, reason: "a continuation of nothing") }
            return try append(payload, isFinal: header.isFinal)
        }
    }

    private mutating func append(_ payload: ByteBuffer, isFinal: Bool) throws(Violation) -> WebSocketEvent? {
        guard var message = fragments else { return nil }
        fragments = nil
        var payload = payload
        if message.isText {
            let isValid = payload.withUnsafeReadableBytes { message.validator.consume($0) }
            guard isValid, !isFinal || message.validator.isAtBoundary else {
                throw Violation(code: .invalidPayload, reason: "text is not UTF-8")
            }
        }
        message.payload.writeBuffer(&payload)
        if isFinal { return .message(message.payload, isText: message.isText) }
        fragments = message
        return nil
    }

    private static func requireUTF8(_ payload: ByteBuffer) throws(Violation) {
        var validator = UTF8Validator()
        let isValid = payload.withUnsafeReadableBytes { validator.consume($0) }
        guard isValid, validator.isAtBoundary else { throw Violation(code: .invalidPayload, reason: "text is not UTF-8") }
    }

    private func close(_ payload: ByteBuffer) throws(Violation) -> WebSocketEvent {
        var payload = payload
        if payload.readableBytes == 0 { return .close(code: nil) }
        guard let code: UInt16 = payload.readInteger() else { throw Violation(code: .protocolError, reason: "bad close frame") }
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: break
        default: throw Violation(code: .protocolError, reason: "bad close code")
        }
        try Self.requireUTF8(payload)
        return .close(code: code)
    }
}

/// Writes frames of a server: not masked, in one piece.
enum WebSocketWriter {
    static let headerBytesMax = 10

    enum Opcode: UInt8 {
        case text = 0x81
        case binary = 0x82
        case close = 0x88
        case pong = 0x8A
    }

    /// The bytes of a header. RFC 6455 asks for the shortest form.
    static func header(_ opcode: Opcode, size: Int, into buffer: inout ByteBuffer) {
        buffer.writeInteger(opcode.rawValue)
        switch size {
        case ..<126: buffer.writeInteger(UInt8(size))
        case ..<65_536:
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(size))
        default:
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(size))
        }
    }

    static func close(_ code: CloseCode?, _ reason: String) -> ByteBuffer {
        var buffer = ByteBuffer()
        guard let code else {
            header(.close, size: 0, into: &buffer)
            return buffer
        }
        // A control frame carries at most 125 bytes, two of them the code.
        let text = String(decoding: reason.utf8.prefix(120), as: UTF8.self)
        let safe = text.utf8.count <= 123 ? text : ""
        header(.close, size: 2 + safe.utf8.count, into: &buffer)
        buffer.writeInteger(code.rawValue)
        buffer.writeString(safe)
        return buffer
    }

    static func pong(_ payload: ByteBuffer) -> ByteBuffer {
        var payload = payload
        var buffer = ByteBuffer()
        header(.pong, size: payload.readableBytes, into: &buffer)
        buffer.writeBuffer(&payload)
        return buffer
    }
}
