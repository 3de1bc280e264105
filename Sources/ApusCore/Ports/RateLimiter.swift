import ApusProtocol

/// So many in so much time; `burst` at once. A bucket holds `burst` tokens and gets `perSecond` new ones in a second; less than one
/// in `burst` allows nothing.
public struct RateLimit: Sendable, Hashable, Codable {
    public var perSecond: Double
    public var burst: Int

    public init(perSecond: Double, burst: Int) {
        self.perSecond = perSecond
        self.burst = burst
    }

    /// No refusal asks for more patience than this.
    public static let longestRefill = Duration.seconds(86_400)

    /// How long a bucket needs for so many tokens, rounded up to a millisecond; ``longestRefill`` for a rate that allows nothing.
    public func refillTime(of tokens: Double) -> Duration {
        guard perSecond > 0, burst >= 1 else { return Self.longestRefill }
        return .milliseconds(Int64(min((tokens * 1000 / perSecond).rounded(.up), 86_400_000)))
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
