#if Cluster
/// Where a key lives in a Redis Cluster: CRC16 (XMODEM) of the key, or of what stands between its first braces, modulo 16,384.
public enum RedisHashSlot {
    public static let count = 16_384

    public static func of(_ key: String) -> Int {
        let bytes = Array(key.utf8)
        var hashed = bytes[...]
        if let open = bytes.firstIndex(of: UInt8(ascii: "{")),
            let close = bytes[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
        {
            hashed = bytes[(open + 1)..<close]
        }
        return Int(crc16(hashed)) % count
    }

    /// `{text}` with the smallest number as its text that falls into this slot, to make keys that live in it.
    static func tag(of slot: Int) -> String { tags[slot] }

    private static let tags: [String] = {
        var tags: [String?] = Array(repeating: nil, count: count)
        var missing = count
        var number = 0
        while missing > 0 {
            let text = String(number)
            let slot = of(text)
            if tags[slot] == nil {
                tags[slot] = "{\(text)}"
                missing -= 1
            }
            number += 1
        }
        return tags.compactMap { $0 }
    }()

    private static func crc16(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        bytes.reduce(0) { crc, byte in (crc << 8) ^ table[Int(UInt8(truncatingIfNeeded: crc >> 8) ^ byte)] }
    }

    private static let table: [UInt16] = (0..<256).map { index in
        (0..<8).reduce(UInt16(index) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : (crc << 1) ^ 0x1021 }
    }
}
#endif
