import HTTPTypes
import Hummingbird
import NIOHTTP1

/// Which header fields pass through the gateway. Pure functions.
enum HeaderRules {
    /// What the gateway says to a node about the client.
    struct Client: Sendable {
        var address: IPAddress?
        /// The `Host` that the client asked.
        var authority: String?
        /// `http` or `https`.
        var scheme: String
    }

    /// Of one connection and not of the request (RFC 9110 section 7.6.1), and what NIO and the client make themselves.
    private static let hopByHop: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "host", "expect", "http2-settings",
    ]

    /// What a node believes because the gateway said it, and what the gateway answers for (cross-origin rules).
    private static let gatewayOwn: Set<String> = [
        "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "x-request-id", "traceparent", "tracestate", "origin",
        "access-control-request-method", "access-control-request-headers",
    ]
    private static let gatewayOwnPrefixes = ["x-forwarded-", "x-apus-"]

    /// The fields for a node: what the client may set, then what the gateway says.
    static func forwarded(_ fields: HTTPFields, from client: Client, requestID: String, trace: TraceContext, state: String?) -> HTTPHeaders
    {
        let named = connectionOptions(fields[values: .connection])
        var headers = HTTPHeaders()
        for field in fields {
            let name = field.name.canonicalName
            guard !hopByHop.contains(name), !named.contains(name), !gatewayOwn.contains(name),
                !gatewayOwnPrefixes.contains(where: name.hasPrefix)
            else { continue }
            headers.add(name: field.name.rawName, value: field.value)
        }
        // The roles make addresses of it that they send back; they check it.
        if let authority = client.authority {
            headers.add(name: "Host", value: authority)
            headers.add(name: HTTPField.Name.xForwardedHost.rawName, value: authority)
        }
        if let address = client.address { headers.add(name: HTTPField.Name.xForwardedFor.rawName, value: address.description) }
        headers.add(name: HTTPField.Name.xForwardedProto.rawName, value: client.scheme)
        headers.add(name: HTTPField.Name.requestID.rawName, value: requestID)
        headers.add(name: HTTPField.Name.traceparent.rawName, value: trace.field)
        if let state { headers.add(name: HTTPField.Name.tracestate.rawName, value: state) }
        return headers
    }

    /// The fields for the client. `Content-Length` stays: it is the body's, or of a `HEAD` what the body's would be.
    static func returned(_ headers: HTTPHeaders) -> HTTPFields {
        let named = connectionOptions(headers[canonicalForm: "connection"].map(String.init))
        var fields = HTTPFields()
        for (name, value) in headers {
            let lowercased = name.lowercased()
            guard lowercased == "content-length" || !hopByHop.contains(lowercased), !named.contains(lowercased),
                !lowercased.hasPrefix("access-control-"), lowercased != "date", let field = HTTPField.Name(name)
            else { continue }
            fields.append(HTTPField(name: field, value: value))
        }
        return fields
    }

    private static func connectionOptions(_ values: [String]) -> Set<String> {
        Set(values.flatMap { $0.split(separator: ",") }.map { $0.trimmingSpaces.lowercased() })
    }
}
