#if Cluster
import Crypto

/// Counts rows and hashes them in the order in which they come: two tables with the same digest have the same rows.
struct RowDigest {
    private(set) var count = 0
    private var hash = SHA256()

    mutating func add(_ canonical: [UInt8]) {
        count += 1
        hash.update(data: canonical)
    }

    /// In hexadecimal digits.
    var text: String { hash.finalize().map { $0.hexadecimal }.joined() }
}

extension SQLRow {
    /// The same bytes for the same values, whichever database they come from, and for no others: of each value its kind, its length
    /// and its bytes.
    var canonical: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size + values.count * 9)
        func append(_ number: UInt64) { withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) } }
        for value in values {
            switch value {
            case .null: bytes.append(0)
            case .integer(let number):
                bytes.append(1)
                append(UInt64(bitPattern: number))
            case .text(let text):
                bytes.append(2)
                append(UInt64(text.utf8.count))
                bytes.append(contentsOf: text.utf8)
            case .blob(let blob):
                bytes.append(3)
                append(UInt64(blob.count))
                bytes.append(contentsOf: blob)
            }
        }
        return bytes
    }

    /// Of its values, about; in bytes.
    var size: Int {
        values.reduce(0) { size, value in
            switch value {
            case .integer, .null: size + 8
            case .text(let text): size + text.utf8.count
            case .blob(let blob): size + blob.count
            }
        }
    }
}

extension UInt8 {
    fileprivate var hexadecimal: String { (self < 16 ? "0" : "") + String(self, radix: 16) }
}

extension SQLValue {
    /// For a message.
    var shown: String {
        switch self {
        case .integer(let number): String(number)
        case .text(let text): text
        case .blob(let blob): blob.map(\.hexadecimal).joined()
        case .null: "null"
        }
    }
}
#endif
