import ApusProtocol
import Foundation

/// Entries and other things as one line each: JSON for programs.
enum JSONLine {
    /// `{"id":"…","conversation":"…","seq":7,"sender":"…","kind":"text","text":"…","at":"2026-01-01T00:00:00.000Z"}`; kinds other than
    /// text have `body`, a JSON value, in place of `text`.
    static func entry(_ entry: Entry) -> String {
        let content = entry.kind == .text ? "\"text\":\(string(entry.body))" : "\"body\":\(document(entry.body))"
        return "{\"id\":\"\(entry.id)\",\"conversation\":\"\(entry.conversation)\",\"seq\":\(entry.seq),\"sender\":\"\(entry.sender)\","
            + "\"kind\":\(string(entry.kind.rawValue)),\(content),\"at\":\"\(time(entry.at))\"}"
    }

    /// `{"id":"…","conversation":"…","seq":7}`; a scheduled message has seq 0 and `deliver_at`.
    static func ack(_ ack: AckFrame) -> String {
        let scheduled = ack.deliverAt.map { ",\"deliver_at\":\"\(time($0))\"" } ?? ""
        return "{\"id\":\"\(ack.id)\",\"conversation\":\"\(ack.conversation)\",\"seq\":\(ack.seq)\(scheduled)}"
    }

    /// Any value in one line, keys sorted.
    static func value(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// RFC 3339 in UTC with milliseconds.
    static func time(_ time: Timestamp) -> String {
        let (seconds, milliseconds) = time.milliseconds.quotientAndRemainder(dividingBy: 1000)
        var clock = time_t(milliseconds < 0 ? seconds - 1 : seconds)
        var parts = tm()
        gmtime_r(&clock, &parts)
        return String(
            format: "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday),
            Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec), Int(milliseconds < 0 ? milliseconds + 1000 : milliseconds))
    }

    static func string(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            // The two line separators of Unicode too: some readers of lines split at them.
            case "\u{0}"..."\u{1F}", "\u{7F}", "\u{85}", "\u{2028}", "\u{2029}": out += String(format: "\\u%04x", scalar.value)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }

    /// A body that is a JSON document as it is, in one line; anything else as a string, so that the line is JSON in any case.
    private static func document(_ body: String) -> String {
        guard (try? JSONSerialization.jsonObject(with: Data(body.utf8), options: .fragmentsAllowed)) != nil else { return string(body) }
        // Outside of strings a line end is only layout; inside JSON does not allow one.
        return body.split { $0 == "\n" || $0 == "\r" || $0 == "\r\n" }.joined(separator: " ")
    }
}

/// Entries as people read them.
struct EntryText: Sendable {
    let catalogue: Catalogue
    var zone = TimeZone.current

    /// `14:05 bob: hello`; the day too when it is not that of `now`.
    func line(_ entry: Entry, sender: String, place: String? = nil, names: (AccountID) -> String, now: Date = Date()) -> String {
        let head = "\(time(entry.at, now: now)) \(place.map { "[\(printable($0))] " } ?? "")"
        switch entry.kind {
        case .text: return "\(head)\(printable(sender)): \(printable(entry.body))"
        case .system: return "\(head)\(catalogue(.system)) \(system(entry, sender: sender, names: names))"
        default: return "\(head)\(printable(sender)): \(catalogue(.unknownKind(printable(entry.kind.rawValue))))"
        }
    }

    private func system(_ entry: Entry, sender: String, names: (AccountID) -> String) -> String {
        guard let event = entry.systemEvent else {
            return catalogue(.unknownKind("system"))
        }
        let people = (event.accounts ?? []).map { printable(names($0)) }.joined(separator: ", ")
        return switch event.event {
        case .created: catalogue(.groupCreated(by: printable(sender)))
        case .joined: catalogue(.joined(people, by: printable(sender)))
        case .left: catalogue(.left(people))
        case .renamed: catalogue(.renamed(printable(event.title ?? ""), by: printable(sender)))
        }
    }

    func time(_ time: Timestamp, now: Date) -> String {
        let date = Date(timeIntervalSince1970: Double(time.milliseconds) / 1000)
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = zone
        let parts = calendar.dateComponents([.year, .month, .day, .hour, .minute], from: date)
        let clock = String(format: "%02d:%02d", parts.hour ?? 0, parts.minute ?? 0)
        guard !calendar.isDate(date, inSameDayAs: now) else { return clock }
        return String(format: "%04d-%02d-%02d ", parts.year ?? 0, parts.month ?? 0, parts.day ?? 0) + clock
    }

    /// Text of others as it may go to a terminal: control characters would move the cursor or worse, so they are shown instead.
    func printable(_ text: String) -> String { Self.printable(text) }

    static func printable(_ text: String) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": out.append(contentsOf: " ⏎ ".unicodeScalars)
            case "\t": out.append(" ")
            case "\u{0}"..."\u{1F}": out.append(Unicode.Scalar(0x2400 + scalar.value) ?? "?")
            // DEL, the controls of C1, and the marks that turn the direction of what follows.
            case "\u{7F}"..."\u{9F}", "\u{202A}"..."\u{202E}", "\u{2066}"..."\u{2069}": out.append("\u{FFFD}")
            default: out.append(scalar)
            }
        }
        return String(out)
    }
}
