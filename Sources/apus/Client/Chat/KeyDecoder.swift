import Foundation

/// Turns the bytes of a terminal in raw mode into keys. Sequences and characters may come in pieces.
struct KeyDecoder {
    private var pending: [UInt8] = []

    mutating func decode(_ bytes: some Sequence<UInt8>) -> [LineEditor.Key] {
        pending.append(contentsOf: bytes)
        var keys: [LineEditor.Key] = []
        while let first = pending.first {
            if first == 0x1B {
                guard let (key, length) = escape() else { break }
                if let key { keys.append(key) }
                pending.removeFirst(length)
            } else if first < 0x20 || first == 0x7F {
                if let key = Self.control(first) { keys.append(key) }
                pending.removeFirst()
            } else {
                guard let (scalar, length) = scalar() else { break }
                if let scalar { keys.append(.character(Character(scalar))) }
                pending.removeFirst(length)
            }
        }
        return keys
    }

    private static func control(_ byte: UInt8) -> LineEditor.Key? {
        switch byte {
        case 0x01: .home
        case 0x02: .left
        case 0x03: .interrupt
        case 0x04: .endOfInput
        case 0x05: .end
        case 0x06: .right
        case 0x08, 0x7F: .backspace
        case 0x09: .character(" ")
        case 0x0A, 0x0D: .enter
        case 0x0B: .killToEnd
        case 0x0C: .clearScreen
        case 0x0E: .down
        case 0x10: .up
        case 0x15: .killToStart
        case 0x17: .killWord
        default: nil
        }
    }

    /// The sequence at the front and its length; nil: it is not complete. A key of nil: a sequence that means nothing here.
    private func escape() -> (LineEditor.Key?, Int)? {
        guard pending.count > 1 else { return nil }
        guard pending[1] == UInt8(ascii: "[") || pending[1] == UInt8(ascii: "O") else { return (nil, 2) }
        guard let end = pending.dropFirst(2).firstIndex(where: { (0x40...0x7E).contains($0) }) else {
            // No sequence is this long: give the bytes up rather than wait for ever.
            return pending.count > 16 ? (nil, pending.count) : nil
        }
        let parameters = String(decoding: pending[2..<end], as: UTF8.self)
        let key: LineEditor.Key? =
            switch (pending[end], parameters) {
            case (UInt8(ascii: "A"), _): .up
            case (UInt8(ascii: "B"), _): .down
            case (UInt8(ascii: "C"), _): .right
            case (UInt8(ascii: "D"), _): .left
            case (UInt8(ascii: "H"), _), (UInt8(ascii: "~"), "1"), (UInt8(ascii: "~"), "7"): .home
            case (UInt8(ascii: "F"), _), (UInt8(ascii: "~"), "4"), (UInt8(ascii: "~"), "8"): .end
            case (UInt8(ascii: "~"), "3"): .delete
            default: nil
            }
        return (key, end + 1)
    }

    /// The scalar at the front and its bytes; nil: it is not complete. A scalar of nil: bytes that are no UTF-8.
    private func scalar() -> (Unicode.Scalar?, Int)? {
        let length =
            switch pending[0] {
            case 0x00...0x7F: 1
            case 0xC2...0xDF: 2
            case 0xE0...0xEF: 3
            case 0xF0...0xF4: 4
            default: 0
            }
        guard length > 0 else { return (nil, 1) }
        guard pending.count >= length else { return nil }
        guard let text = String(bytes: pending[..<length], encoding: .utf8), let scalar = text.unicodeScalars.first else {
            return (nil, 1)
        }
        return (scalar, length)
    }
}
