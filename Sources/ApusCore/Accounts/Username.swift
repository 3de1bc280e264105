import ApusProtocol

/// The name an account logs in with: 3 to 32 of `a-z 0-9 . _ -`, beginning with a letter or digit. Upper case is folded, so
/// two names that look alike cannot both exist.
public struct Username: Hashable, Sendable, CustomStringConvertible {
    public static let length = 3...32

    public let value: String

    /// - Throws: ``ApusError`` `invalid_argument`.
    public init(_ text: String) throws {
        guard let name = Self.folded(text), Self.length.contains(name.utf8.count), let first = name.utf8.first,
            Self.isLetterOrDigit(first)
        else {
            throw ApusError(
                .invalidArgument, "a username has 3 to 32 of a-z 0-9 . _ - and begins with a letter or digit")
        }
        value = name
    }

    public var description: String { value }

    /// What a search by prefix looks for; nil when no username can begin like that.
    public static func prefix(_ text: String) -> String? {
        guard let prefix = folded(text), (1...length.upperBound).contains(prefix.utf8.count) else { return nil }
        return prefix
    }

    private static func folded(_ text: String) -> String? {
        let bytes = text.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        guard bytes.allSatisfy({ isLetterOrDigit($0) || ".-_".utf8.contains($0) }) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
