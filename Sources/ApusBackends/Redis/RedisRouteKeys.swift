#if Cluster
import ApusCore
import ApusProtocol

/// The keys and values of the route table.
///
///     apus:routes:{S}:A   hash: session → device:node, of one account
///     apus:online:{S}     sorted set, all scores 0: accounts of a shard with routes, in 20 digits, so that they sort as numbers
///     apus:nodes          sorted set: node → when its life is over unless it renews, in Redis's milliseconds
///     apus:beacon:N{T}    of each node in each master: gone when that master lost its data
///     apus:sweep:WHY      somebody sweeps, or did a moment ago
///
/// An account's shard S is the hash tag of its keys: the two keys that change together are in one slot, and the number of sorted
/// sets is bounded.
struct RedisRouteKeys: Sendable {
    static let shards = 256

    let prefix: String

    func shard(of account: AccountID) -> Int { Int(account.rawValue % UInt64(Self.shards)) }
    func routes(of account: AccountID) -> String { "\(prefix):routes:{\(shard(of: account))}:\(account)" }
    func online(shard: Int) -> String { "\(prefix):online:{\(shard)}" }
    var nodes: String { "\(prefix):nodes" }
    func beacon(of node: NodeID, tag: String) -> String { "\(prefix):beacon:\(node)\(tag)" }
    func sweep(_ cause: String) -> String { "\(prefix):sweep:\(cause)" }

    static func member(_ account: AccountID) -> String {
        let digits = String(account.rawValue)
        return String(repeating: "0", count: 20 - digits.count) + digits
    }

    static func value(of route: Route) -> String { "\(route.device):\(route.node)" }

    /// Nil: not ours.
    static func route(of account: AccountID, session: RESPValue, value: RESPValue) -> Route? {
        guard let session = session.text.flatMap({ SessionID($0) }), let parts = value.text?.split(separator: ":"), parts.count == 2,
            let device = DeviceID(String(parts[0])), let node = NodeID(String(parts[1]))
        else { return nil }
        return Route(session: session, account: account, device: device, node: node)
    }

    /// The reply to an HGETALL.
    static func routes(of account: AccountID, _ reply: RESPValue) -> [Route] {
        let fields = reply.array ?? []
        return stride(from: 0, to: fields.count - 1, by: 2).compactMap { route(of: account, session: fields[$0], value: fields[$0 + 1]) }
    }
}

/// What has to happen at once.
enum RedisRouteScripts {
    /// KEYS: the account's routes, the online accounts of its shard. ARGV: session, value, account, lifetime in milliseconds.
    static let add = RedisScript(
        """
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
        redis.call('ZADD', KEYS[2], 0, ARGV[3])
        redis.call('PEXPIRE', KEYS[2], ARGV[4])
        return 1
        """)

    /// KEYS as above. ARGV: session, account.
    static let remove = RedisScript(
        """
        redis.call('HDEL', KEYS[1], ARGV[1])
        if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[2]) end
        return 1
        """)

    /// Renews the life of a node and forgets those whose life is over. KEYS: the nodes. ARGV: the node, lifetime in milliseconds.
    /// Returns whether it was known, and all that are.
    static let renew = RedisScript(
        """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
        local known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
        redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
        return {known, redis.call('ZRANGE', KEYS[1], 0, -1)}
        """)

    /// KEYS: the nodes. Returns those whose life is not over.
    static let live = RedisScript(
        """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')
        """)

    /// Removes the routes of lives that are over, and accounts that have no others. KEYS: the online accounts of a shard, the routes of
    /// some of them. ARGV: the number of nodes, the nodes, the account of each routes key.
    static let sweep = RedisScript(
        """
        local count = tonumber(ARGV[1])
        local over = {}
        for i = 2, count + 1 do over[ARGV[i]] = true end
        for i = 2, #KEYS do
          local fields = redis.call('HGETALL', KEYS[i])
          for j = 1, #fields, 2 do
            if over[string.match(fields[j + 1], ':(.*)$')] then redis.call('HDEL', KEYS[i], fields[j]) end
          end
          if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[count + i]) end
        end
        return 1
        """)
}
#endif
