import ApusProtocol

/// So many in so much time; `burst` at once.
public struct RateLimit: Sendable, Hashable, Codable {
    public var perSecond: Double
    public var burst: Int

    public init(perSecond: Double, burst: Int) {
        self.perSecond = perSecond
        self.burst = burst
    }
}

public enum RateDecision: Sendable, Hashable {
    case allowed
    /// Try again after this long.
    case refused(retryAfter: Duration)
}

/// Token buckets that all nodes share.
public protocol RateLimiter: Sendable {
    /// Takes one token from the bucket of this key, whose rate is `limit`.
    /// - Throws: ``ApusError`` `unavailable` when the shared state cannot be reached; the caller decides whether to let pass.
    func take(_ key: String, _ limit: RateLimit) async throws -> RateDecision
}
