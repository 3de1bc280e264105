import ApusCore
import ApusProtocol
import Logging

/// What the gateway lets through per second; nil: any number.
public struct GatewayLimits: Sendable, Hashable {
    /// Attempts to log in with a password.
    public var loginPerAddress: RateLimit?
    /// Likewise, to one account from anywhere. Holds a guesser back and its owner with him, so it is no lower than a person
    /// would ever notice.
    public var loginPerAccount: RateLimit?
    public var registrationPerAddress: RateLimit?
    /// Requests with a valid access token.
    public var requestsPerAccount: RateLimit?
    /// All others, among them those whose token is not valid.
    public var requestsPerAddress: RateLimit?

    public init(
        loginPerAddress: RateLimit? = RateLimit(perSecond: 1, burst: 30),
        loginPerAccount: RateLimit? = RateLimit(perSecond: 0.2, burst: 20),
        registrationPerAddress: RateLimit? = RateLimit(perSecond: 0.2, burst: 20),
        requestsPerAccount: RateLimit? = RateLimit(perSecond: 50, burst: 200),
        requestsPerAddress: RateLimit? = RateLimit(perSecond: 100, burst: 400)
    ) {
        self.loginPerAddress = loginPerAddress
        self.loginPerAccount = loginPerAccount
        self.registrationPerAddress = registrationPerAddress
        self.requestsPerAccount = requestsPerAccount
        self.requestsPerAddress = requestsPerAddress
    }
}

/// Counts requests against the limits.
struct RequestLimits: Sendable {
    /// Who is counted for what.
    enum Bucket: Sendable {
        case login(from: IPAddress?)
        case loginTo(account: String)
        case registration(from: IPAddress?)
        case request(from: IPAddress?)
        case requestBy(AccessGrant.Subject)
    }

    let limits: LiveSetting<GatewayLimits>
    let limiter: any RateLimiter
    /// Asked when the shared state of `limiter` cannot be reached: a limit per gateway is better than none, and than no service.
    let fallback: (any RateLimiter)?
    let logger: Logger

    /// - Throws: ``ApusError`` `rate_limited`.
    func check(_ bucket: Bucket) async throws {
        guard let (key, limit) = keyAndLimit(bucket) else { return }
        guard case .refused(let retryAfter) = await take(key, limit) else { return }
        let milliseconds = UInt32(clamping: Int64(max(1, retryAfter / .milliseconds(1))))
        throw ApusError(.rateLimited, "too many requests", retryAfterMilliseconds: milliseconds)
    }

    private func take(_ key: String, _ limit: RateLimit) async -> RateDecision {
        do {
            return try await limiter.take(key, limit)
        } catch {
            logger.warning("the shared rate limits cannot be reached", metadata: ["error": "\(error)"])
        }
        guard let fallback else { return .allowed }
        do {
            return try await fallback.take(key, limit)
        } catch {
            logger.warning("the local rate limits do not work", metadata: ["error": "\(error)"])
            return .allowed
        }
    }

    /// Nil where nothing is to be counted.
    private func keyAndLimit(_ bucket: Bucket) -> (String, RateLimit)? {
        func pair(_ kind: String, _ whom: String?, _ limit: RateLimit?) -> (String, RateLimit)? {
            guard let whom, let limit else { return nil }
            return ("\(kind):\(whom)", limit)
        }
        let limits = limits.value
        return switch bucket {
        case .login(let address): pair("login", address?.customer.description, limits.loginPerAddress)
        case .loginTo(let account): pair("login-to", account, limits.loginPerAccount)
        case .registration(let address): pair("registration", address?.customer.description, limits.registrationPerAddress)
        case .request(let address): pair("request", address?.customer.description, limits.requestsPerAddress)
        case .requestBy(.device(let account, _)): pair("request-by", account.description, limits.requestsPerAccount)
        case .requestBy(.client(let name)): pair("request-by-client", name, limits.requestsPerAccount)
        }
    }
}
