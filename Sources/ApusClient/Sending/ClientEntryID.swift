import Foundation

/// Makes client entry ids: UUIDs of version 7 (RFC 9562), which begin with the time. Ids that one sender makes one after the other are
/// neighbours in the server's index of them, so that appending touches few pages.
public enum ClientEntryID {
    public static func next() -> String {
        next(millisecond: UInt64(max(0, Date().timeIntervalSince1970 * 1000)), random: (.random(in: 0 ... .max), .random(in: 0 ... .max)))
    }

    static func next(millisecond: UInt64, random: (UInt64, UInt64)) -> String {
        let high = millisecond << 16 | 0x7000 | random.0 & 0x0FFF
        let low = 0b10 << 62 | random.1 >> 2
        let digits = hex(high) + hex(low)
        var text = ""
        text.reserveCapacity(36)
        for (place, digit) in digits.enumerated() {
            if place == 8 || place == 12 || place == 16 || place == 20 { text.append("-") }
            text.append(digit)
        }
        return text
    }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
