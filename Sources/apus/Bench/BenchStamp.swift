/// What a benchmark message says about itself: client id of its send and beginning of its body, so that whoever sees an
/// acknowledgement or an entry can measure and check it without a table.
struct BenchStamp: Equatable {
    /// Which run: entries of earlier runs in the same conversation are not counted.
    var run: UInt64
    /// Which stream of messages, counted from 0.
    var stream: UInt64
    /// Which message of the stream, counted from 0.
    var index: UInt64
    /// When the schedule meant it to be sent: nanoseconds of the monotonic clock, which all processes of a machine share.
    var intended: UInt64

    init(run: UInt64, stream: UInt64, index: UInt64, intended: UInt64) {
        self.run = run
        self.stream = stream
        self.index = index
        self.intended = intended
    }

    /// At most 64 bytes, which is what a client id may have: `run` is below 2^40, a stream below 10^6.
    var text: String { "\(run).\(stream).\(index).\(intended)" }

    /// Reads the stamp at the beginning of a client id or a body.
    init?(_ text: String) {
        var numbers: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        var field = 0
        var value: UInt64 = 0
        var digits = 0
        func store() -> Bool {
            guard digits > 0 else { return false }
            switch field {
            case 0: numbers.0 = value
            case 1: numbers.1 = value
            case 2: numbers.2 = value
            default: numbers.3 = value
            }
            return true
        }
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                guard digits < 19 else { return nil }
                value = value * 10 + UInt64(byte - UInt8(ascii: "0"))
                digits += 1
                continue
            case UInt8(ascii: ".") where field < 3:
                guard store() else { return nil }
                field += 1
                value = 0
                digits = 0
                continue
            case UInt8(ascii: " "): break
            default: return nil
            }
            break
        }
        guard field == 3, store() else { return nil }
        (run, stream, index, intended) = numbers
    }

    /// The stamp, filled up to `bytes`.
    func body(bytes: Int) -> String {
        let stamp = text
        let fill = bytes - stamp.utf8.count - 1
        return fill > 0 ? stamp + " " + String(repeating: "x", count: fill) : stamp
    }
}
