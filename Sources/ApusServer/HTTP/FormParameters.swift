import ApusProtocol
import Foundation
import Hummingbird

/// The fields of an `application/x-www-form-urlencoded` body, as OAuth wants them read: a field without a value counts as
/// absent, a field that comes twice is an error (RFC 6749 section 3.2).
struct FormParameters: Sendable {
    static let fieldsMax = 32

    private var values: [String: String] = [:]

    /// - Throws: ``ApusError`` `malformed`.
    init(_ body: String) throws {
        let fields = body.split(separator: "&", omittingEmptySubsequences: true)
        guard fields.count <= Self.fieldsMax else { throw ApusError(.malformed, "the form has more than \(Self.fieldsMax) fields") }
        for field in fields {
            let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decoded(parts[0]), let value = Self.decoded(parts.count == 2 ? parts[1] : "") else {
                throw ApusError(.malformed, "the form is not well encoded")
            }
            guard !value.isEmpty else { continue }
            guard values.updateValue(value, forKey: name) == nil else { throw ApusError(.malformed, "the form has a field twice") }
        }
    }

    subscript(name: String) -> String? { values[name] }

    /// Nil when an escape is broken or the result is not UTF-8.
    static func decoded(_ text: some StringProtocol) -> String? {
        text.replacingOccurrences(of: "+", with: " ").removingPercentEncoding
    }
}

extension Request {
    /// - Throws: ``ApusError`` `malformed`, `too_large`.
    func form(_ context: APIContext) async throws -> FormParameters {
        let type = headers[.contentType]?.split(separator: ";").first?.trimmingCharacters(in: .whitespaces).lowercased()
        guard type == "application/x-www-form-urlencoded" else {
            throw ApusError(.malformed, "the body is not application/x-www-form-urlencoded")
        }
        let body = try await bodyBytes(context)
        guard let text = String(validating: body.readableBytesView, as: UTF8.self) else {
            throw ApusError(.malformed, "the form is not UTF-8")
        }
        return try FormParameters(text)
    }
}
