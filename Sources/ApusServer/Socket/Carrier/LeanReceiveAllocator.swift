import NIOCore

/// Keeps an idle connection small. NIO holds on to a channel's first receive buffer for ever, so the first one has 16 bytes;
/// all later ones are allocated per read and freed with it. Needs `maxMessagesPerRead` 1, or NIO pools the later ones too.
struct LeanReceiveAllocator: RecvByteBufferAllocator {
    private static let firstBytes = 16
    private static let laterBytes = 8192
    private var hasRead = false

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: hasRead ? Self.laterBytes : Self.firstBytes)
    }

    func nextBufferSize() -> Int? { nil }

    mutating func record(actualReadBytes: Int) -> Bool {
        hasRead = true
        return true
    }
}
