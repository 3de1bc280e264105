import ApusProtocol
import Foundation

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that HTTP servers write (RFC 9110, 5.6.7).
enum HTTPDate {
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    static func parse(_ text: String) -> Timestamp? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let day = Int32(parts[1]), let month = months.firstIndex(of: String(parts[2])),
            let year = Int32(parts[3])
        else { return nil }
        let time = parts[4].split(separator: ":").compactMap { Int32($0) }
        guard time.count == 3 else { return nil }
        return Timestamp(year: year, month: Int32(month) + 1, day: day, hour: time[0], minute: time[1], second: time[2], milliseconds: 0)
    }
}

/// `2009-10-12T17:50:30.000Z`, as S3 writes times in XML.
enum S3Date {
    static func parse(_ text: String) -> Timestamp? {
        let fields = text.split(whereSeparator: { "-T:.Z".contains($0) })
        let numbers = fields.compactMap { Int32($0) }
        guard text.hasSuffix("Z"), numbers.count == fields.count, (6...7).contains(numbers.count) else { return nil }
        // A fraction may have three digits or nine.
        let fraction = numbers.count == 7 ? Double("0.\(fields[6])") ?? 0 : 0
        return Timestamp(
            year: numbers[0], month: numbers[1], day: numbers[2], hour: numbers[3], minute: numbers[4], second: numbers[5],
            milliseconds: Int64(fraction * 1000))
    }
}

extension Timestamp {
    fileprivate init?(year: Int32, month: Int32, day: Int32, hour: Int32, minute: Int32, second: Int32, milliseconds: Int64) {
        guard (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour),
            (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        var parts = tm()
        parts.tm_year = year - 1900
        parts.tm_mon = month - 1
        parts.tm_mday = day
        parts.tm_hour = hour
        parts.tm_min = minute
        parts.tm_sec = second
        self.init(milliseconds: Int64(timegm(&parts)) * 1000 + milliseconds)
    }
}
