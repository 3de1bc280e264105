import ApusProtocol
import Crypto
import NIOCore

/// The SHA-256 of an object's bytes.
public struct ObjectChecksum: Sendable, Hashable, CustomStringConvertible {
    public let bytes: [UInt8]

    public init(of buffer: ByteBuffer) {
        var builder = ChecksumBuilder()
        builder.add(buffer)
        self = builder.finish()
    }

    fileprivate init(_ digest: SHA256Digest) { bytes = Array(digest) }

    /// Nil unless `hex` has 64 hexadecimal digits.
    public init?(_ hex: String) {
        let digits = hex.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == 64, hex.utf8.count == 64 else { return nil }
        bytes = stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// 64 lower-case hexadecimal digits.
    public var description: String { bytes.hex }
}

/// Makes an ``ObjectChecksum`` of bytes that come in pieces.
public struct ChecksumBuilder: Sendable {
    private var hash = SHA256()

    public init() {}

    public mutating func add(_ buffer: ByteBuffer) { buffer.withUnsafeReadableBytes { hash.update(bufferPointer: $0) } }

    public func finish() -> ObjectChecksum { ObjectChecksum(hash.finalize()) }
}

extension Sequence<UInt8> {
    /// Two lower-case digits a byte.
    package var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

/// What is put into an object store: so many bytes, from memory or from a stream.
public struct ObjectBody: Sendable {
    public let size: Int64
    /// What the bytes must have; nil when it is not known before they have come.
    public let checksum: ObjectChecksum?
    /// Whether ``checkedBytes`` can be read again, after a failed attempt.
    public let isRepeatable: Bool
    private let bytes: ObjectBytes

    public init(_ buffer: ByteBuffer) {
        size = Int64(buffer.readableBytes)
        checksum = ObjectChecksum(of: buffer)
        isRepeatable = true
        bytes = ObjectBytes(CollectionOfOne(buffer))
    }

    /// - Parameter bytes: read once at most.
    public init(size: Int64, checksum: ObjectChecksum? = nil, _ bytes: ObjectBytes) {
        self.size = size
        self.checksum = checksum
        isRepeatable = false
        self.bytes = bytes
    }

    /// The bytes. Ends with an ``ApusError`` `invalid_argument` when they are not as many as ``size`` or do not have the ``checksum``, and
    /// before the last of them is out, so that nobody who counts takes a wrong body for a complete one.
    public var checkedBytes: ObjectBytes {
        let (size, checksum, bytes) = (size, checksum, bytes)
        return ObjectBytes {
            var rest = bytes.makeAsyncIterator()
            var check = BodyCheck(size: size, checksum: checksum)
            return {
                while let buffer = try await rest.next() {
                    if let checked = try check.take(buffer) { return checked }
                }
                return try check.finish()
            }
        }
    }
}

/// Counts and hashes a body as it passes, one buffer late.
private struct BodyCheck {
    private let size: Int64
    private let checksum: ObjectChecksum?
    private var seen: Int64 = 0
    private var hash = ChecksumBuilder()
    private var last: ByteBuffer?

    init(size: Int64, checksum: ObjectChecksum?) {
        self.size = size
        self.checksum = checksum
    }

    /// The buffer before this one.
    mutating func take(_ buffer: ByteBuffer) throws -> ByteBuffer? {
        guard buffer.readableBytes > 0 else { return nil }
        seen += Int64(buffer.readableBytes)
        guard seen <= size else { throw ApusError(.invalidArgument, "the body has more than the \(size) bytes that it should have") }
        if checksum != nil { hash.add(buffer) }
        defer { last = buffer }
        return last
    }

    /// The last buffer; nil when it is out already.
    mutating func finish() throws -> ByteBuffer? {
        guard seen == size else { throw ApusError(.invalidArgument, "the body has \(seen) bytes instead of \(size)") }
        if let checksum, hash.finish() != checksum {
            throw ApusError(.invalidArgument, "the body does not have the checksum that it should have")
        }
        defer { last = nil }
        return last
    }
}
