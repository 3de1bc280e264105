#if Cluster
import ApusCore
import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The routes of all nodes, in Redis.
///
/// Redis is a place to meet and not the truth: each node has its own routes in memory and answers for them from there, writes them again
/// from time to time, and at once when Redis lost them. A change that does not get through is told later; a route of a node whose life is
/// over is ignored, and swept by the other nodes.
///
/// Its ``run()`` keeps the node's life, so it runs before and after whatever adds routes.
public final class RedisRouteTable: RouteTable, Service {
    public struct Timing: Sendable, Hashable {
        /// A node that does not renew for so long is over for the others.
        public var lifetime = Duration.seconds(6)
        public var renewal = Duration.seconds(1)
        /// In which all routes are written again once.
        public var round = Duration.seconds(30)
        /// After which Redis forgets routes that nobody writes again.
        public var routeLifetime = Duration.seconds(180)
        /// Between two searches for routes of nodes that are over, in the whole cluster; one that is seen to go is swept at once.
        public var sweep = Duration.seconds(60)

        public init() {}
    }

    struct State {
        var own = OwnRoutes()
        var hasRenewed = false
        /// Redis did not answer the last renewal: nobody waits for it until it does.
        var isCut = false
        var live: Set<NodeID> = []
        /// Asked after since the last renewal, and not live.
        var over: Set<NodeID> = []
        /// Seen to go, and not swept yet.
        var toSweep: Set<NodeID> = []
    }

    let client: RedisClient
    let node: NodeID
    let keys: RedisRouteKeys
    let timing: Timing
    let logger: Logger
    let state = NIOLockedValueBox(State())

    /// - Parameters:
    ///   - node: this life of this node: the one of all routes that are added here.
    ///   - prefix: of all keys, so that several systems can share a Redis.
    public init(client: RedisClient, node: NodeID, prefix: String = "apus", timing: Timing = Timing(), logger: Logger) {
        self.client = client
        self.node = node
        keys = RedisRouteKeys(prefix: prefix)
        self.timing = timing
        self.logger = logger
    }

    // MARK: Own routes

    public func add(_ route: Route) async throws {
        precondition(route.node == node, "a route of another node")
        state.withLockedValue { $0.own.add(route) }
        await tell([.write(route)])
    }

    public func remove(_ route: Route) async throws {
        state.withLockedValue { $0.own.remove(route) }
        await tell([.erase(route)])
    }

    /// What does not get through stays due, and ``run()`` tells it later.
    private func tell(_ changes: [OwnRoutes.Change]) async {
        guard state.withLockedValue({ !$0.isCut }) else { return }
        do {
            // Others ignore the routes of a node that they do not know.
            if state.withLockedValue({ !$0.hasRenewed }) { try await renew() }
            try await write(changes)
        } catch {
            logger.debug("routes are told to Redis later", metadata: ["error": "\(error)"])
        }
    }

    /// Tells Redis, and notes what it was told.
    func write(_ changes: [OwnRoutes.Change]) async throws {
        let results = await client.results(of: changes.map(command))
        state.withLockedValue { state in
            for (change, result) in zip(changes, results) {
                if case .success = result { state.own.done(change) }
            }
        }
        for result in results { _ = try result.get() }
    }

    private func command(_ change: OwnRoutes.Change) -> RedisCommand {
        switch change {
        case .write(let route):
            RedisCommand(
                RedisRouteScripts.add, keys: keysOf(route),
                arguments: [
                    "\(route.session)", RedisRouteKeys.value(of: route), RedisRouteKeys.member(route.account),
                    "\(timing.routeLifetime.milliseconds)",
                ], isIdempotent: true)
        case .erase(let route):
            RedisCommand(
                RedisRouteScripts.remove, keys: keysOf(route), arguments: ["\(route.session)", RedisRouteKeys.member(route.account)],
                isIdempotent: true)
        }
    }

    private func keysOf(_ route: Route) -> [String] {
        [keys.routes(of: route.account), keys.online(shard: keys.shard(of: route.account))]
    }

    // MARK: Everybody's routes

    /// - Throws: ``ApusError`` `unavailable`.
    public func routes(of accounts: [AccountID]) async throws -> [AccountID: [Route]] {
        let replies = try await client.send(
            accounts.map { RedisCommand(["HGETALL", keys.routes(of: $0)], key: keys.routes(of: $0), isIdempotent: true) })
        let others = zip(accounts, replies).flatMap { RedisRouteKeys.routes(of: $0, $1) }.filter { $0.node != node }
        let live = try await live(of: Set(others.map(\.node)))
        return state.withLockedValue { state in
            var found: [AccountID: [Route]] = [:]
            for account in accounts { found[account] = state.own.routes[account].map(Array.init) }
            for route in others where live.contains(route.node) { found[route.account, default: []].append(route) }
            return found
        }
    }

    /// Those of the nodes whose life is not over. Asks Redis only about a node that it has not heard of.
    private func live(of nodes: Set<NodeID>) async throws -> Set<NodeID> {
        let (live, over) = state.withLockedValue { ($0.live, $0.over) }
        let unknown = nodes.subtracting(live).subtracting(over)
        guard !unknown.isEmpty else { return nodes.intersection(live) }
        let now = try await liveNodes()
        state.withLockedValue { state in
            state.live.formUnion(now)
            state.over.formUnion(unknown.subtracting(now))
        }
        return nodes.intersection(now.union(live))
    }

    /// As Redis knows them at this moment.
    func liveNodes() async throws -> Set<NodeID> {
        Self.nodes(try await client.send(RedisCommand(RedisRouteScripts.live, keys: [keys.nodes], isIdempotent: true)))
    }

    static func nodes(_ reply: RESPValue?) -> Set<NodeID> { Set((reply?.array ?? []).compactMap { $0.text.flatMap { NodeID($0) } }) }

    // MARK: Who is online

    /// Accounts of a node that was killed count until it is over and swept.
    public func onlineCount() async throws -> Int {
        let counts = try await client.send(
            (0..<RedisRouteKeys.shards).map { RedisCommand("ZCARD", keys.online(shard: $0), isIdempotent: true) })
        return counts.reduce(0) { $0 + Int($1.integer ?? 0) }
    }

    public func onlineAccounts(after: AccountID?, limit: Int) async throws -> [AccountID] {
        var found: [AccountID] = []
        var after = after
        while found.count < limit {
            // Ids spread evenly over the shards: each gives its part and some more.
            let part = (limit - found.count) / RedisRouteKeys.shards * 2 + 8
            let shards = try await client.send((0..<RedisRouteKeys.shards).map { page(of: $0, after: after, limit: part) })
                .map(Self.accounts)
            // Of a shard that has more, nothing is known beyond what it gave.
            let known = shards.filter { $0.count == part }.compactMap(\.last).min()
            let next = shards.joined().filter { account in known.map { account <= $0 } ?? true }.sorted()
            found += next.prefix(limit - found.count)
            guard known != nil, let last = next.last else { break }
            after = last
        }
        return found
    }

    func page(of shard: Int, after: AccountID?, limit: Int) -> RedisCommand {
        RedisCommand(
            "ZRANGEBYLEX", keys.online(shard: shard), after.map { "(" + RedisRouteKeys.member($0) } ?? "-", "+", "LIMIT", "0", "\(limit)",
            isIdempotent: true)
    }

    static func accounts(_ reply: RESPValue) -> [AccountID] { (reply.array ?? []).compactMap { $0.text.flatMap { AccountID($0) } } }
}
#endif
