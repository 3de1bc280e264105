import ApusProtocol
import NIOCore

/// The bytes of an object in pieces, wherever they come from. What is not read yet is not fetched yet.
public struct ObjectBytes: AsyncSequence, Sendable {
    public typealias Element = ByteBuffer

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let take: () async throws -> ByteBuffer?

        public mutating func next() async throws -> ByteBuffer? { try await take() }
    }

    private let make: @Sendable () -> (() async throws -> ByteBuffer?)

    /// - Parameter make: called once per reader; what it returns gives the next piece, nil at the end.
    public init(_ make: @escaping @Sendable () -> (() async throws -> ByteBuffer?)) { self.make = make }

    public init<Base: AsyncSequence & Sendable>(_ base: Base) where Base.Element == ByteBuffer {
        make = {
            var iterator = base.makeAsyncIterator()
            return { try await iterator.next() }
        }
    }

    public init(_ buffers: some Sequence<ByteBuffer> & Sendable) {
        make = {
            var iterator = buffers.makeIterator()
            return { iterator.next() }
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(take: make()) }

    /// All of it.
    /// - Throws: ``ApusError`` `too_large` when it has more than `bytesMax` bytes, and what reading it throws.
    public func collect(upTo bytesMax: Int) async throws -> ByteBuffer {
        var all = ByteBuffer()
        for try await piece in self {
            guard all.readableBytes + piece.readableBytes <= bytesMax else {
                throw ApusError(.tooLarge, "more than \(bytesMax) bytes")
            }
            all.writeImmutableBuffer(piece)
        }
        return all
    }
}
