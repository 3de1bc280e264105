import ApusProtocol
import Hummingbird

/// An error answer of the OAuth endpoints (RFC 6749 section 5.2).
struct OAuthError: Error {
    var error: String
    var description: String
    var status: HTTPResponse.Status = .badRequest
    /// The code of the rest of the API, where it says more than `error`.
    var code: ErrorCode?
    var retryAfter: Int?

    static func invalidRequest(_ description: String) -> Self { Self(error: "invalid_request", description: description) }
    static func invalidGrant(_ description: String) -> Self { Self(error: "invalid_grant", description: description) }
    static func invalidScope(_ description: String) -> Self { Self(error: "invalid_scope", description: description) }
    static func unauthorizedClient(_ description: String) -> Self { Self(error: "unauthorized_client", description: description) }
    static let invalidClient = Self(error: "invalid_client", description: "client authentication failed", status: .unauthorized)

    /// What happened behind the endpoint, in OAuth's words. A refusal by the device policy is `access_denied`.
    init(_ error: ApusError) {
        code = error.code
        description = error.message
        switch error.code {
        case .unauthenticated: self.error = "invalid_grant"
        case .loginRefused:
            self.error = "access_denied"
            status = .forbidden
        case .overloaded, .storeUnavailable, .unavailable, .shuttingDown:
            self.error = "temporarily_unavailable"
            status = .serviceUnavailable
            retryAfter = Problems.retryAfter(error)
        case .internal:
            self.error = "server_error"
            status = .internalServerError
        case .tooLarge:
            self.error = "invalid_request"
            status = .contentTooLarge
        default: self.error = "invalid_request"
        }
    }

    init(
        error: String, description: String, status: HTTPResponse.Status = .badRequest, code: ErrorCode? = nil, retryAfter: Int? = nil
    ) {
        self.error = error
        self.description = description
        self.status = status
        self.code = code
        self.retryAfter = retryAfter
    }

    func response() throws -> Response {
        var headers: HTTPFields = [.cacheControl: "no-store"]
        if status == .unauthorized { headers[.wwwAuthenticate] = #"Basic realm="apus""# }
        if let retryAfter { headers[.retryAfter] = String(retryAfter) }
        return try Response.json(
            OAuthErrorResponse(error: error, errorDescription: description, code: code), status: status, headers: headers)
    }
}
