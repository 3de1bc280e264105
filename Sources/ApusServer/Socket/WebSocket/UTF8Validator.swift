/// Checks UTF-8 (RFC 3629) piece by piece, so that a bad byte in the first fragment ends the connection at once.
struct UTF8Validator {
    /// Bytes of the current character still to come, and the range in which the next one must lie.
    private var awaited = 0
    private var low: UInt8 = 0x80
    private var high: UInt8 = 0xBF

    /// Whether the text may end here.
    var isAtBoundary: Bool { awaited == 0 }

    /// - Returns: false as soon as no continuation can make this valid.
    mutating func consume(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index < bytes.count {
            if awaited == 0 {
                index = Self.skipASCII(bytes, from: index)
                if index == bytes.count { return true }
                guard begin(bytes[index]) else { return false }
            } else {
                guard (low...high).contains(bytes[index]) else { return false }
                low = 0x80
                high = 0xBF
                awaited -= 1
            }
            index += 1
        }
        return true
    }

    private static func skipASCII(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        var index = start
        while index + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if word & 0x8080_8080_8080_8080 != 0 { break }
            index += 8
        }
        while index < bytes.count, bytes[index] < 0x80 { index += 1 }
        return index
    }

    private mutating func begin(_ byte: UInt8) -> Bool {
        low = 0x80
        high = 0xBF
        switch byte {
        case 0xC2...0xDF: awaited = 1
        case 0xE0:
            awaited = 2
            low = 0xA0
        case 0xED:
            awaited = 2
            high = 0x9F
        case 0xE1...0xEF: awaited = 2
        case 0xF0:
            awaited = 3
            low = 0x90
        case 0xF1...0xF3: awaited = 3
        case 0xF4:
            awaited = 3
            high = 0x8F
        default: return false
        }
        return true
    }
}
