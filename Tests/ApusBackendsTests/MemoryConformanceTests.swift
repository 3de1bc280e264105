import ApusCore
import ApusProtocol
import ApusTesting
import NIOConcurrencyHelpers
import Testing

/// What lives in the memory of a single node keeps the promises of its port.
@Suite("Memory: the promises of the ports") struct MemoryConformanceTests {
    private final class SetClock: WallClock {
        private let time = NIOLockedValueBox(Timestamp(milliseconds: 1_800_000_000_000))
        var now: Timestamp { time.withLockedValue { $0 } }
        func pass(_ duration: Duration) { time.withLockedValue { $0 = $0 + duration } }
    }

    @Test("rate limits", arguments: RateLimiterConformance.cases)
    func rateLimits(_ promise: ConformanceCase<TimedRateLimiter>) async throws {
        let clock = SetClock()
        try await promise.check(TimedRateLimiter(limiter: MemoryRateLimiter(clock: clock)) { clock.pass($0) })
    }

    @Test("Of more keys than it has room for, the limiter forgets the oldest")
    func rateLimitKeys() async throws {
        let limiter = MemoryRateLimiter(clock: SetClock(), keysMax: 3)
        let limit = RateLimit(perSecond: 0.001, burst: 1)
        for key in ["a", "b", "c", "d"] { #expect(try await limiter.take(key, limit) == .allowed) }
        #expect(try await limiter.take("d", limit) != .allowed)
        #expect(try await limiter.take("b", limit) != .allowed)
        #expect(try await limiter.take("a", limit) == .allowed)
    }

    @Test("turns of logins", arguments: LoginArbiterConformance.cases)
    func turns(_ promise: ConformanceCase<[any LoginArbiter]>) async throws {
        try await promise.check([MemoryLoginArbiter()])
    }
}
