#if Cluster
import ApusCore
import ApusProtocol

/// Token buckets in Redis, by Redis's clock. A bucket that is full again is forgotten by itself.
public struct RedisRateLimiter: RateLimiter {
    /// KEYS: the bucket. ARGV: tokens per second, burst. Returns nothing when a token was there, or how much of one is missing.
    private static let script = RedisScript(
        """
        local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
        local time = redis.call('TIME')
        local now = time[1] * 1000 + time[2] / 1000
        local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local tokens = burst
        if bucket[1] then tokens = math.min(burst, bucket[1] + math.max(0, now - bucket[2]) * rate / 1000) end
        if tokens < 1 then return string.format('%.6f', 1 - tokens) end
        tokens = tokens - 1
        redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.3f', now))
        local full = 86400000
        if rate > 0 then full = math.min(full, math.ceil((burst - tokens) * 1000 / rate)) end
        redis.call('PEXPIRE', KEYS[1], full)
        return false
        """)

    private let client: RedisClient
    private let prefix: String

    /// - Parameter prefix: of all keys, so that several systems can share a Redis.
    public init(client: RedisClient, prefix: String = "apus") {
        self.client = client
        self.prefix = prefix
    }

    public func take(_ key: String, _ limit: RateLimit) async throws -> RateDecision {
        let command = RedisCommand(
            Self.script, keys: ["\(prefix):rate:\(key)"], arguments: ["\(max(0, limit.perSecond))", "\(max(0, limit.burst))"])
        guard let missing = try await client.send(command).text.flatMap({ Double($0) }) else { return .allowed }
        return .refused(retryAfter: limit.refillTime(of: missing))
    }
}
#endif
