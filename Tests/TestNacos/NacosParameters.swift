import Foundation

/// A request as a servlet container hands it to Nacos: the parameters of the query, and of the form of a POST.
struct NacosRequest {
    var method: String
    var path: String
    var parameters: [String: String]
    var headers: [String: String]

    init(method: String, uri: String, headers: [String: String], body: String) {
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        self.method = method
        path = String(parts[0])
        self.headers = headers
        parameters = parts.count > 1 ? Self.decode(parts[1]) : [:]
        // Of a PUT or DELETE the container reads no form.
        guard method == "POST", headers["content-type"]?.hasPrefix("application/x-www-form-urlencoded") == true else { return }
        parameters.merge(Self.decode(body[...])) { query, _ in query }
    }

    private static func decode(_ text: Substring) -> [String: String] {
        var parameters: [String: String] = [:]
        for item in text.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
                $0.replacing("+", with: " ").removingPercentEncoding ?? ""
            }
            if parameters[pair[0]] == nil { parameters[pair[0]] = pair.count > 1 ? pair[1] : "" }
        }
        return parameters
    }

    /// `WebUtils.required`.
    func required(_ name: String) throws -> String {
        guard let value = parameters[name], !value.isEmpty else { throw NacosRefusal(400, "Param '\(name)' is required.") }
        return value.trimmingCharacters(in: .whitespaces)
    }

    /// `WebUtils.optional`.
    func optional(_ name: String, _ otherwise: String) -> String {
        guard let value = parameters[name]?.trimmingCharacters(in: .whitespaces), !value.isEmpty else { return otherwise }
        return value
    }

    /// `@RequestParam` of Spring.
    func springParameter(_ name: String) throws -> String {
        guard let value = parameters[name] else {
            throw NacosRefusal(400, "Required request parameter '\(name)' for method parameter type String is not present", isPage: true)
        }
        return value
    }
}

/// An answer other than 200.
struct NacosRefusal: Error {
    var status: Int
    var message: String
    /// As the container's error page, in JSON (`sendError`), or the bare text.
    var isPage: Bool

    init(_ status: Int, _ message: String, isPage: Bool = false) {
        self.status = status
        self.message = message
        self.isPage = isPage
    }
}

/// `DefaultParamChecker` with the rules of `ParamCheckRule`.
enum NacosParameterCheck {
    static func check(_ what: String, _ value: String?, _ lengthMax: Int, _ pattern: String) throws {
        guard let value, !value.trimmingCharacters(in: .whitespaces).isEmpty else { return }
        guard value.utf16.count <= lengthMax else {
            throw NacosRefusal(400, "Param '\(what)' is illegal, the param length should not exceed \(lengthMax).")
        }
        guard value.range(of: pattern, options: .regularExpression) == value.startIndex..<value.endIndex else {
            throw NacosRefusal(400, "Param '\(what)' is illegal, illegal characters should not appear in the param.")
        }
    }

    static func namespace(_ value: String?) throws { try check("namespaceId/tenant", value, 64, "^[\\w-]+") }
    static func dataID(_ value: String?) throws { try check("dataId", value, 256, "^[a-zA-Z0-9-_:\\.]*$") }
    static func group(_ value: String?) throws { try check("group", value, 128, "^[a-zA-Z0-9-_:\\.]*$") }
    static func service(_ value: String?) throws { try check("serviceName", value, 512, "^(?!@).((?!@@)[^\\u4E00-\\u9FA5\\s])*$") }
    static func cluster(_ value: String?) throws { try check("cluster", value, 64, "^[0-9a-zA-Z-_]+$") }
    static func ip(_ value: String?) throws { try check("ip", value, 128, "^[^\\u4E00-\\u9FA5\\s]*$") }

    static func port(_ value: String?) throws {
        guard let value, !value.isEmpty else { return }
        guard let port = Int(value), 0...65_535 ~= port else {
            throw NacosRefusal(400, "Param 'port' is illegal, the value should be between 0 and 65535.")
        }
    }

    static func metadata(_ values: [String: String]) throws {
        let length = values.reduce(0) { $0 + $1.key.utf16.count + $1.value.utf16.count }
        guard length <= 1_024 else {
            throw NacosRefusal(400, "Param 'Metadata' is illegal, the param length should not exceed 1024.")
        }
    }
}
