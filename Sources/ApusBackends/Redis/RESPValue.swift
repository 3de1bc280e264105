#if Cluster
/// A reply of Redis, as RESP2 has it.
public enum RESPValue: Sendable, Hashable {
    case null
    case integer(Int64)
    /// A bulk string or a status.
    case string([UInt8])
    /// The first word is Redis's code: `ERR`, `MOVED`, `NOSCRIPT` …
    case error(String)
    case array([RESPValue])

    /// Nil unless it is a string. What is not UTF-8 is repaired.
    public var text: String? {
        guard case .string(let bytes) = self else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Nil unless it is an integer or a string that is one.
    public var integer: Int64? {
        switch self {
        case .integer(let value): value
        case .string: text.flatMap { Int64($0) }
        case .null, .error, .array: nil
        }
    }

    /// Nil unless it is an array.
    public var array: [RESPValue]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }
}
#endif
