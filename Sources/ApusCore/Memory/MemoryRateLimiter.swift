import ApusProtocol
import Collections
import NIOConcurrencyHelpers

/// Token buckets of one process, a bounded number of them.
public final class MemoryRateLimiter: RateLimiter {
    private struct Bucket {
        var tokens: Double
        var at: Timestamp
    }

    private struct State {
        var buckets: [String: Bucket] = [:]
        /// The keys in the order in which their buckets were made, to forget the oldest.
        var order: Deque<String> = []
    }

    private let clock: any WallClock
    private let keysMax: Int
    private let state = NIOLockedValueBox(State())

    /// - Parameter keysMax: buckets; with one more, the one that was made first is forgotten, as if it were full.
    public init(clock: any WallClock, keysMax: Int = 100_000) {
        self.clock = clock
        self.keysMax = max(1, keysMax)
    }

    public func take(_ key: String, _ limit: RateLimit) async throws -> RateDecision {
        let now = clock.now
        return state.withLockedValue { state in
            var bucket = Bucket(tokens: Double(limit.burst), at: now)
            if let known = state.buckets[key] {
                // A clock that was set back refills nothing.
                let elapsed = max(0, Double(now.milliseconds - known.at.milliseconds) / 1000)
                bucket.tokens = min(Double(limit.burst), known.tokens + elapsed * max(0, limit.perSecond))
            } else {
                if state.order.count >= keysMax, let oldest = state.order.popFirst() { state.buckets[oldest] = nil }
                state.order.append(key)
            }
            defer { state.buckets[key] = bucket }
            guard bucket.tokens < 1 else {
                bucket.tokens -= 1
                return .allowed
            }
            return .refused(retryAfter: limit.refillTime(of: 1 - bucket.tokens))
        }
    }
}
