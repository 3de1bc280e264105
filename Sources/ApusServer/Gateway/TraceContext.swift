/// The `traceparent` of W3C Trace Context, level 1: which trace a request belongs to, and who asks within it. A pure value.
struct TraceContext: Sendable, Hashable {
    /// 32 hexadecimal digits, not all zero.
    var trace: String
    /// 16 hexadecimal digits, not all zero.
    var parent: String
    /// Bit 0: the caller records this trace.
    var flags: UInt8

    /// A trace of its own, which nobody asked to record.
    init(using random: inout some RandomNumberGenerator) {
        trace = Self.hex(UInt64.random(in: 1 ... .max, using: &random)) + Self.hex(.random(in: 0 ... .max, using: &random))
        parent = Self.hex(UInt64.random(in: 1 ... .max, using: &random))
        flags = 0
    }

    /// Nil for what is not valid: then a new trace begins, as the standard wants it.
    init?(_ field: String) {
        let parts = field.split(separator: "-", omittingEmptySubsequences: false).map { Array($0.utf8) }
        // A later version may add parts at the end; this one has four.
        guard parts.count >= 4, parts[0].count == 2, parts[0] != Array("ff".utf8), parts[0] != Array("00".utf8) || parts.count == 4,
            parts[1].count == 32, parts[2].count == 16, parts[3].count == 2, parts.prefix(4).allSatisfy({ $0.allSatisfy(Self.isHex) }),
            [parts[1], parts[2]].allSatisfy({ $0.contains { $0 != 0x30 } }),
            let flags = UInt8(String(decoding: parts[3], as: UTF8.self), radix: 16)
        else { return nil }
        trace = String(decoding: parts[1], as: UTF8.self)
        parent = String(decoding: parts[2], as: UTF8.self)
        self.flags = flags & 1
    }

    /// The same trace with the gateway as the one who asks.
    func child(using random: inout some RandomNumberGenerator) -> TraceContext {
        var child = self
        child.parent = Self.hex(UInt64.random(in: 1 ... .max, using: &random))
        return child
    }

    var field: String { "00-\(trace)-\(parent)-0\(flags)" }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Lower case only.
    private static func isHex(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) }
}
