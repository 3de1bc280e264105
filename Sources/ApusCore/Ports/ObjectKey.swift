import ApusProtocol

/// The name of an object: parts of `a`–`z`, `0`–`9`, `-`, `_` and `.` with `/` between them, such as `media/07/18446744073709551615`.
/// Such a name is the same in a URL, on every file system and in every object store. Do not choose keys of which one is a folder of the
/// other (`a` and `a/b`): most stores cannot hold both.
public struct ObjectKey: Sendable, Hashable, Comparable, CustomStringConvertible {
    public static let bytesMax = 512
    public static let partBytesMax = 128

    public let description: String

    /// Nil unless it is one.
    public init?(_ text: String) {
        guard (1...Self.bytesMax).contains(text.utf8.count) else { return nil }
        for part in text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            // A leading dot would be a hidden file, `.` or `..`.
            guard let first = part.first, first != UInt8(ascii: "."), part.count <= Self.partBytesMax, part.allSatisfy(Self.isAllowed)
            else {
                return nil
            }
        }
        description = text
    }

    public static func < (left: ObjectKey, right: ObjectKey) -> Bool {
        left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
    }

    /// Whether some key may begin with it.
    static func isPrefix(_ text: String) -> Bool {
        if text.isEmpty || ObjectKey(text) != nil { return true }
        return text.hasSuffix("/") && ObjectKey(String(text.dropLast())) != nil
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
        default: false
        }
    }
}

/// What every object store checks before it does anything.
public enum ObjectRules {
    /// In one piece; larger objects come in parts.
    public static let putBytesMax: Int64 = 5 << 30
    public static let partBytesMax: Int64 = 5 << 30
    public static let partsMax = 10_000
    public static let pageMax = 1000
    public static let lifetimeMax = Duration.seconds(7 * 24 * 3600)

    /// - Throws: ``ApusError`` `invalid_argument`.
    public static func check(type: String) throws {
        let isPrintable = type.utf8.allSatisfy { (0x20...0x7E).contains($0) }
        guard isPrintable, (3...200).contains(type.utf8.count), type.contains("/"), !type.hasPrefix(" "), !type.hasSuffix(" ") else {
            throw ApusError(.invalidArgument, "that is no media type")
        }
    }

    public static func check(_ body: ObjectBody, bytesMax: Int64 = putBytesMax) throws {
        guard body.size >= 0 else { throw ApusError(.invalidArgument, "a body of \(body.size) bytes") }
        guard body.size <= bytesMax else { throw ApusError(.tooLarge, "\(body.size) bytes are more than \(bytesMax)") }
    }

    public static func check(prefix: String, limit: Int) throws {
        guard ObjectKey.isPrefix(prefix) else { throw ApusError(.invalidArgument, "no key begins like that") }
        guard (1...pageMax).contains(limit) else { throw ApusError(.invalidArgument, "a page has 1 to \(pageMax) objects") }
    }

    public static func check(_ access: ObjectAccess, lifetime: Duration) throws {
        guard lifetime >= .seconds(1), lifetime <= lifetimeMax else {
            throw ApusError(.invalidArgument, "a signed URL is good for 1 second to 7 days")
        }
        guard case .put(let type, let size) = access else { return }
        try check(type: type)
        guard (0...putBytesMax).contains(size) else { throw ApusError(.invalidArgument, "an object of \(size) bytes") }
    }

    public static func check(partNumber: Int) throws {
        guard (1...partsMax).contains(partNumber) else { throw ApusError(.invalidArgument, "part numbers are 1 to \(partsMax)") }
    }

    public static func check(_ parts: [UploadedPart], partBytesMin: Int64) throws {
        guard !parts.isEmpty, parts.count <= partsMax else {
            throw ApusError(.invalidArgument, "an upload has 1 to \(partsMax) parts")
        }
        guard zip(parts, parts.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
            throw ApusError(.invalidArgument, "the parts are not in ascending order")
        }
        guard parts.dropLast().allSatisfy({ $0.size >= partBytesMin }) else {
            throw ApusError(.invalidArgument, "a part that is not the last has less than \(partBytesMin) bytes")
        }
    }

    /// The part of `range` that exists.
    /// - Throws: ``ApusError`` `invalid_argument` when there is none.
    public static func clamp(_ range: Range<Int64>?, size: Int64) throws -> Range<Int64> {
        guard let range else { return 0..<size }
        guard !range.isEmpty, range.lowerBound >= 0, range.lowerBound < size else { throw unsatisfiable(range) }
        return range.lowerBound..<min(range.upperBound, size)
    }

    public static func unsatisfiable(_ range: Range<Int64>) -> ApusError {
        ApusError(.invalidArgument, "the object has no bytes \(range.lowerBound) to \(range.upperBound)")
    }

    public static func notFound(_ key: ObjectKey) -> ApusError { ApusError(.notFound, "there is no object \(key)") }

    public static func notFound(_ upload: ObjectUpload) -> ApusError { ApusError(.notFound, "there is no such upload of \(upload.key)") }
}
