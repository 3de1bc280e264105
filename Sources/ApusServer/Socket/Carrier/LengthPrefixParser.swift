import NIOCore

/// Reads messages behind four bytes of length, big endian, from whatever pieces arrive. Holds nothing between messages.
struct LengthPrefixParser {
    enum Event: Equatable {
        case message(ByteBuffer)
        case tooLarge(Int)
    }

    var messageBytesMax: Int
    private var buffer: ByteBuffer?

    init(messageBytesMax: Int) { self.messageBytesMax = messageBytesMax }

    mutating func feed(_ bytes: ByteBuffer) {
        if buffer == nil {
            buffer = bytes
        } else {
            var bytes = bytes
            buffer?.writeBuffer(&bytes)
        }
    }

    /// The next complete message; nil when more bytes are needed.
    mutating func next() -> Event? {
        guard let bytes = buffer else { return nil }
        if let size: UInt32 = bytes.getInteger(at: bytes.readerIndex) {
            if Int(size) > messageBytesMax {
                buffer = nil
                return .tooLarge(Int(size))
            }
            if bytes.readableBytes >= 4 + Int(size) {
                buffer?.moveReaderIndex(forwardBy: 4)
                return buffer?.readSlice(length: Int(size)).map { .message($0) }
            }
        }
        if bytes.readableBytes == 0 {
            buffer = nil
        } else if bytes.readerIndex > 0 {
            // A partial message moves to a buffer of its own size: the receive buffer has 8 kB.
            buffer = ByteBuffer(bytes: bytes.readableBytesView)
        }
        return nil
    }
}
