/// How long to wait before the next attempt: exponential, capped, with jitter so that clients of a node that died do not
/// come back all at once.
public struct Backoff: Sendable {
    public struct Policy: Sendable, Hashable {
        /// Before the second attempt; the first one after a stable connection waits a random part of it.
        public var initial: Duration
        public var max: Duration
        public var multiplier: Double
        /// 0: exactly the computed delay; 1: anything between 0 and it.
        public var jitter: Double
        /// A connection that lasted so long makes the next delay start from `initial` again.
        public var stableAfter: Duration

        public init(
            initial: Duration = .milliseconds(500), max: Duration = .seconds(30), multiplier: Double = 2, jitter: Double = 0.5,
            stableAfter: Duration = .seconds(10)
        ) {
            self.initial = initial
            self.max = max
            self.multiplier = multiplier
            self.jitter = jitter
            self.stableAfter = stableAfter
        }
    }

    public let policy: Policy
    /// Attempts that failed since the last stable connection.
    public private(set) var failures = 0

    public init(policy: Policy) { self.policy = policy }

    /// The delay before the next attempt, after one more failure.
    public mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        // Past 63 doublings every delay is capped anyway; the bound keeps the loop finite for any multiplier.
        var delay = policy.initial
        for _ in 0..<min(failures, 63) where delay < policy.max { delay = delay * policy.multiplier }
        failures += 1
        let factor: Double = 1 - policy.jitter * Double.random(in: 0...1, using: &random)
        return min(delay, policy.max) * factor
    }

    /// A connection ended that had lasted for `duration`.
    public mutating func connectionLasted(_ duration: Duration) {
        if duration >= policy.stableAfter { failures = 0 }
    }
}
