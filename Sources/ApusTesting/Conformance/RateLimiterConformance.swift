import ApusCore
import ApusProtocol

/// A ``RateLimiter`` and its time.
public struct TimedRateLimiter: Sendable {
    public var limiter: any RateLimiter
    /// Lets so much of the limiter's time pass: sets a clock forward, or waits.
    public var pass: @Sendable (Duration) async throws -> Void

    public init(limiter: any RateLimiter, pass: @escaping @Sendable (Duration) async throws -> Void) {
        self.limiter = limiter
        self.pass = pass
    }
}

/// The promises of ``RateLimiter``.
public enum RateLimiterConformance {
    public static let cases: [ConformanceCase<TimedRateLimiter>] = [
        .init("a burst passes, then no more until the time that it said", burst),
        .init("tokens come back at the rate, and never more than the burst", refill),
        .init("a key does not concern another one", keys),
        .init("of many at once as many pass as the bucket has", concurrency),
        .init("a limit of nothing lets nothing pass", nothing),
    ]

    /// How many of so many tries pass.
    private static func passes(_ subject: TimedRateLimiter, _ key: String, _ limit: RateLimit, of tries: Int) async throws -> Int {
        var passed = 0
        for _ in 0..<tries where try await subject.limiter.take(key, limit) == .allowed { passed += 1 }
        return passed
    }

    private static func burst(_ subject: TimedRateLimiter) async throws {
        let limit = RateLimit(perSecond: 2, burst: 3)
        try expectEqual(try await passes(subject, "a", limit, of: 3), 3, "of a burst")
        guard case .refused(let retryAfter) = try await subject.limiter.take("a", limit) else {
            throw ConformanceFailure("more than a burst passed", #fileID, #line)
        }
        try expect(retryAfter > .zero && retryAfter <= .milliseconds(500), "a token comes in half a second, not in \(retryAfter)")
        try await subject.pass(retryAfter)
        try expectEqual(try await passes(subject, "a", limit, of: 2), 1, "after the time that it said")
    }

    private static func refill(_ subject: TimedRateLimiter) async throws {
        let limit = RateLimit(perSecond: 10, burst: 4)
        try expectEqual(try await passes(subject, "a", limit, of: 4), 4, "of a burst")
        try await subject.pass(.milliseconds(1000))
        try expectEqual(try await passes(subject, "a", limit, of: 5), 4, "after a second, in which more came than fit")
    }

    private static func keys(_ subject: TimedRateLimiter) async throws {
        let limit = RateLimit(perSecond: 0.01, burst: 1)
        for key in ["a", "b", "{a}", "a b", ""] {
            try expectEqual(try await passes(subject, key, limit, of: 2), 1, "of the key '\(key)'")
        }
    }

    private static func concurrency(_ subject: TimedRateLimiter) async throws {
        let limit = RateLimit(perSecond: 0.01, burst: 10)
        let passed = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<50 { group.addTask { try await passes(subject, "a", limit, of: 2) } }
            return try await group.reduce(0, +)
        }
        try expectEqual(passed, 10, "of 100 at once")
    }

    private static func nothing(_ subject: TimedRateLimiter) async throws {
        for (key, limit) in [("a", RateLimit(perSecond: 10, burst: 0)), ("b", RateLimit(perSecond: 0, burst: 0))] {
            guard case .refused(let retryAfter) = try await subject.limiter.take(key, limit) else {
                throw ConformanceFailure("something passed", #fileID, #line)
            }
            try expectEqual(retryAfter, RateLimit.longestRefill, "how long to wait for nothing")
        }
        let once = RateLimit(perSecond: 0, burst: 2)
        try expectEqual(try await passes(subject, "c", once, of: 4), 2, "of a burst that never comes back")
    }
}
