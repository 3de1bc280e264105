/// The machine-readable name of a refusal; the same over the socket (`error.code`) and HTTP (`code` of a problem document).
public struct ErrorCode: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    // What the client sent.
    public static let malformed = ErrorCode(rawValue: "malformed")
    public static let unknownMessage = ErrorCode(rawValue: "unknown_message")
    public static let outOfState = ErrorCode(rawValue: "out_of_state")
    public static let invalidArgument = ErrorCode(rawValue: "invalid_argument")
    public static let tooLarge = ErrorCode(rawValue: "too_large")
    // Who the client is.
    public static let unauthenticated = ErrorCode(rawValue: "unauthenticated")
    public static let forbidden = ErrorCode(rawValue: "forbidden")
    /// The account is no member of the conversation, or there is no such conversation: one answer for both, so that nobody
    /// learns which conversations exist.
    public static let notMember = ErrorCode(rawValue: "not_member")
    public static let loginRefused = ErrorCode(rawValue: "login_refused")
    // The state of things.
    public static let notFound = ErrorCode(rawValue: "not_found")
    /// HTTP only: the resource exists and has no such method.
    public static let methodNotAllowed = ErrorCode(rawValue: "method_not_allowed")
    /// The same client id with other content, or a name that is taken.
    public static let conflict = ErrorCode(rawValue: "conflict")
    /// The other account of a direct conversation was deleted: what was said can be read still, nothing can be added.
    public static let accountDeleted = ErrorCode(rawValue: "account_deleted")
    // Try again.
    public static let overloaded = ErrorCode(rawValue: "overloaded")
    public static let storeUnavailable = ErrorCode(rawValue: "store_unavailable")
    /// Something that nodes share, other than the store, cannot be reached: Redis, the registry.
    public static let unavailable = ErrorCode(rawValue: "unavailable")
    public static let shuttingDown = ErrorCode(rawValue: "shutting_down")
    /// Too many requests from this account or this address; `Retry-After` says when the next one has a chance.
    public static let rateLimited = ErrorCode(rawValue: "rate_limited")
    /// HTTP only: the request's body came too slowly.
    public static let requestTimeout = ErrorCode(rawValue: "request_timeout")
    /// HTTP only: a node behind the gateway broke off its answer. Whether it did what was asked is not known.
    public static let badGateway = ErrorCode(rawValue: "bad_gateway")
    /// HTTP only: a node behind the gateway did not answer in time. Whether it did what was asked is not known.
    public static let gatewayTimeout = ErrorCode(rawValue: "gateway_timeout")
    public static let `internal` = ErrorCode(rawValue: "internal")

    /// Whether the same request may succeed later without a change. Clients obey the `retryable` of the wire, not this table.
    public var isRetryable: Bool {
        switch self {
        case .overloaded, .storeUnavailable, .shuttingDown, .unavailable, .rateLimited, .requestTimeout, .badGateway, .gatewayTimeout,
            .internal:
            true
        default: false
        }
    }
}

/// An error with a code that goes over the wire, a sentence for people, and what caused it (never sent).
public struct ApusError: Error, Sendable, CustomStringConvertible {
    public var code: ErrorCode
    public var message: String
    public var retryAfterMilliseconds: UInt32?
    public var cause: (any Error)?

    public init(_ code: ErrorCode, _ message: String, retryAfterMilliseconds: UInt32? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retryAfterMilliseconds = retryAfterMilliseconds
        self.cause = cause
    }

    public var description: String {
        let reason = cause.map { " (\($0))" } ?? ""
        return "\(code.rawValue): \(message)\(reason)"
    }
}
