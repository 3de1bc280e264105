import ApusProtocol
import Foundation

/// Random numbers that are the same in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// Random frames that lean towards the edges.
struct FrameGenerator {
    var random: SplitMix

    init(seed: UInt64) { random = SplitMix(state: seed) }

    mutating func send() -> SendFrame {
        SendFrame(
            ref: UInt32(truncatingIfNeeded: number()), conversation: ConversationID(number()), clientID: text(), kind: kind(), body: text(),
            deliverAt: moment())
    }

    mutating func ack() -> AckFrame {
        AckFrame(
            ref: UInt32(truncatingIfNeeded: number()), conversation: ConversationID(number()), clientID: text(), id: EntryID(number()),
            seq: number(), at: Timestamp(milliseconds: Int64(bitPattern: number())), deliverAt: moment())
    }

    mutating func entry() -> Entry {
        Entry(
            conversation: ConversationID(number()), seq: number(), id: EntryID(number()), sender: AccountID(number()),
            at: Timestamp(milliseconds: Int64(bitPattern: number())),
            kind: Bool.random(using: &random) ? .text : EntryKind(rawValue: text()),
            body: text())
    }

    /// Every size of varint is as likely as any other.
    mutating func number() -> UInt64 {
        switch random.next() % 8 {
        case 0: 0
        case 1: .max
        default: random.next() >> (random.next() % 64)
        }
    }

    /// A moment of 0 does not exist on the wire: it means none.
    private mutating func moment() -> Timestamp? {
        let value = Int64(bitPattern: number())
        return value == 0 ? nil : Timestamp(milliseconds: value)
    }

    /// An empty kind of a `send` means text, so it does not come back as it went.
    private mutating func kind() -> EntryKind {
        let kinds = [EntryKind.text, .custom, .system, EntryKind(rawValue: "poll \u{1F5F3}")]
        return kinds[Int(random.next() % UInt64(kinds.count))]
    }

    mutating func text() -> String {
        let length = [0, 1, 5, 40, 127, 128, 300][Int(random.next() % 7)]
        var text = ""
        for _ in 0..<length { text.unicodeScalars.append(scalar()) }
        return text
    }

    private mutating func scalar() -> Unicode.Scalar {
        let ranges: [ClosedRange<UInt32>] = [
            0...0x1F, 0x20...0x7E, 0x22...0x22, 0x5C...0x5C, 0x7F...0x7FF, 0x2028...0x2029, 0xE000...0x10FFFF,
        ]
        let range = ranges[Int(random.next() % UInt64(ranges.count))]
        return Unicode.Scalar(UInt32.random(in: range, using: &random)) ?? "x"
    }

    /// Bytes near to valid ones: bits flipped, bytes replaced, removed, doubled, put in, cut off, glued to others.
    mutating func mutated(_ bytes: [UInt8], other: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0...(random.next() % 3) {
            let place = bytes.isEmpty ? 0 : Int(random.next() % UInt64(bytes.count))
            switch random.next() % 9 {
            case 0 where !bytes.isEmpty: bytes[place] ^= 1 << UInt8(random.next() % 8)
            case 1 where !bytes.isEmpty: bytes[place] = UInt8(truncatingIfNeeded: random.next())
            case 2 where !bytes.isEmpty: bytes.remove(at: place)
            case 3: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
            case 4: bytes.removeLast(bytes.count - place)
            case 5: bytes += other
            case 6: bytes.insert(contentsOf: unknownField(), at: 0)
            case 7: bytes += unknownField()
            default: bytes = Array(bytes[place...]) + bytes[..<place]
            }
        }
        return bytes
    }

    /// A field of any wire type, groups included.
    mutating func unknownField() -> [UInt8] {
        let tag = UInt64([1, 2, 3, 4, 5, 15, 16, 99, 0x1FFF_FFFF][Int(random.next() % 9)])
        let value = varint(number())
        switch random.next() % 6 {
        case 0: return varint(tag << 3) + value
        case 1: return varint(tag << 3 | 1) + Array(repeating: 7, count: 8)
        case 2: return varint(tag << 3 | 2) + [3, 1, 2, 3]
        case 3: return varint(tag << 3 | 3) + [0x08, 0x01] + varint(tag << 3 | 4)
        case 4: return varint(tag << 3 | 4)
        default: return varint(tag << 3 | 5) + Array(repeating: 7, count: 4)
        }
    }

    private func varint(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(truncatingIfNeeded: rest)]
    }
}
