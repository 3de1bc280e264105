import ApusCore
import ApusProtocol
import Crypto
import Foundation

/// Signs requests as AWS does, "Signature Version 4" in the form of S3: paths are escaped once and not normalized.
struct SignatureV4: Sendable {
    static let algorithm = "AWS4-HMAC-SHA256"
    static let unsignedPayload = "UNSIGNED-PAYLOAD"

    var accessKey: String
    var secretKey: String
    var region: String
    var service = "s3"

    /// What is signed of a request.
    struct Request: Hashable {
        var method: String
        /// Not escaped.
        var path: String
        /// Not escaped. A name without a value has an empty one.
        var query: [(name: String, value: String)] = []
        /// All fields that are signed, `host` among them.
        var headers: [(name: String, value: String)]
        /// The SHA-256 of the body, in hexadecimal digits, or ``SignatureV4/unsignedPayload``.
        var payloadHash: String

        static func == (left: Self, right: Self) -> Bool { left.canonicalText == right.canonicalText }
        func hash(into hasher: inout Hasher) { hasher.combine(canonicalText) }

        /// The same text for all ways of writing the same request.
        var canonicalText: String {
            """
            \(method)
            \(URIEscape.path(path))
            \(canonicalQuery)
            \(canonicalHeaders.map { "\($0.name):\($0.value)\n" }.joined())
            \(signedHeaders)
            \(payloadHash)
            """
        }

        var canonicalQuery: String {
            query.map { (URIEscape.component($0.name), URIEscape.component($0.value)) }.sorted { $0 < $1 }
                .map { "\($0)=\($1)" }.joined(separator: "&")
        }

        var signedHeaders: String { canonicalHeaders.map(\.name).joined(separator: ";") }

        private var canonicalHeaders: [(name: String, value: String)] {
            headers.map { (name: $0.name.lowercased(), value: $0.value.split(separator: " ").joined(separator: " ")) }
                .sorted { $0.name < $1.name }
        }
    }

    /// The value of `Authorization`. The request's fields must have `x-amz-date`, made with ``dateTime(_:)``.
    func authorization(_ request: Request, at time: Timestamp) -> String {
        let credential = "\(accessKey)/\(scope(time))"
        return "\(Self.algorithm) Credential=\(credential),SignedHeaders=\(request.signedHeaders),Signature=\(signature(request, at: time))"
    }

    /// The request with a signature among its parameters, good for so many seconds.
    func presigned(_ request: Request, at time: Timestamp, seconds: Int64) -> Request {
        var request = request
        request.query += [
            ("X-Amz-Algorithm", Self.algorithm), ("X-Amz-Credential", "\(accessKey)/\(scope(time))"),
            ("X-Amz-Date", Self.dateTime(time)), ("X-Amz-Expires", String(seconds)), ("X-Amz-SignedHeaders", request.signedHeaders),
        ]
        request.query.append(("X-Amz-Signature", signature(request, at: time)))
        return request
    }

    func signature(_ request: Request, at time: Timestamp) -> String {
        let text = """
            \(Self.algorithm)
            \(Self.dateTime(time))
            \(scope(time))
            \(SHA256.hash(data: Data(request.canonicalText.utf8)).hex)
            """
        return Self.authenticate(text, with: signingKey(time)).hex
    }

    private func scope(_ time: Timestamp) -> String { "\(Self.dateTime(time).prefix(8))/\(region)/\(service)/aws4_request" }

    private func signingKey(_ time: Timestamp) -> SymmetricKey {
        let start = SymmetricKey(data: Data("AWS4\(secretKey)".utf8))
        return [String(Self.dateTime(time).prefix(8)), region, service, "aws4_request"].reduce(start) { key, text in
            SymmetricKey(data: Self.authenticate(text, with: key))
        }
    }

    private static func authenticate(_ text: String, with key: SymmetricKey) -> HMAC<SHA256>.MAC {
        HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: key)
    }

    /// `20130524T000000Z`.
    static func dateTime(_ time: Timestamp) -> String {
        var seconds = time_t(time.milliseconds / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let numbers = [parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec].map { $0 < 10 ? "0\($0)" : "\($0)" }
        return "\(parts.tm_year + 1900)\(numbers[0])\(numbers[1])T\(numbers[2])\(numbers[3])\(numbers[4])Z"
    }
}

/// Percent-escaping as the signature wants it: everything but letters, digits and `-._~`.
enum URIEscape {
    static func component(_ text: String) -> String { escape(text, alsoAllowed: nil) }

    /// Keeps slashes.
    static func path(_ text: String) -> String { escape(text, alsoAllowed: UInt8(ascii: "/")) }

    private static func escape(_ text: String, alsoAllowed: UInt8?) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            if isUnreserved(byte) || byte == alsoAllowed {
                bytes.append(byte)
            } else {
                let digits = Array("0123456789ABCDEF".utf8)
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"): true
        default: false
        }
    }
}
