#if Cluster
import ApusCore
import ApusProtocol
import ServiceLifecycle

/// What has to be done all the time.
extension RedisRouteTable {
    private static let batch = 500
    private static let tick = Duration.milliseconds(200)

    /// Renews the node's life, writes what is due and sweeps, until a graceful shutdown; then takes the node's life back, so that nobody
    /// has to wait for its end.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.keepAlive() }
                group.addTask { await self.keepWritten() }
                group.addTask { await self.keepSwept() }
            }
        }
        do {
            try await client.send(RedisCommand("ZREM", keys.nodes, "\(node)", isIdempotent: true))
        } catch {
            logger.debug("this node's routes end by their time", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Life

    private func keepAlive() async {
        while !Task.isCancelled {
            do {
                try await renew()
            } catch {
                if !Task.isCancelled { logger.warning("Redis does not answer; routes wait for it", metadata: ["error": "\(error)"]) }
                state.withLockedValue { $0.isCut = true }
            }
            try? await Task.sleep(for: timing.renewal)
        }
    }

    /// Tells that this node lives, learns which others do, and finds out whether Redis, or a part of a cluster, lost its data.
    func renew() async throws {
        // At the first renewals, of which several may cross, there is nothing to lose.
        let isFirst = state.withLockedValue { !$0.hasRenewed }
        let tags = try await client.shardTags().values
        let beacons = tags.map { keys.beacon(of: node, tag: $0) }
        let lifetime = "\(timing.routeLifetime.milliseconds)"
        let renewal = RedisCommand(
            RedisRouteScripts.renew, keys: [keys.nodes], arguments: ["\(node)", "\(timing.lifetime.milliseconds)"], isIdempotent: true)
        let replies = try await client.send(
            [renewal] + beacons.map { RedisCommand("GETSET", $0, "1") } + beacons.map { RedisCommand("PEXPIRE", $0, lifetime) })
        guard let answer = replies[0].array, answer.count == 2 else { throw ApusError(.internal, "Redis answered a renewal with nonsense") }
        let wasKnown = answer[0].integer == 1
        let isWhole = replies[1...beacons.count].allSatisfy { $0 != .null }
        let live = Self.nodes(answer[1])
        let lost = state.withLockedValue { state in
            // While it did not answer it may have lost anything, and told us in a reply that got lost.
            let lost = !isFirst && (state.isCut || !(wasKnown && isWhole))
            state.toSweep.formUnion(state.live.subtracting(live))
            (state.live, state.over, state.isCut) = (live, [], false)
            state.hasRenewed = true
            if lost { state.own.lost() }
            return lost
        }
        if lost { logger.notice("Redis may have lost routes of this node; they are written again") }
    }

    // MARK: Writing

    private func keepWritten() async {
        let clock = ContinuousClock()
        var roundEnd = clock.now + timing.round
        var share = 0
        while !Task.isCancelled {
            do {
                if state.withLockedValue({ $0.hasRenewed && !$0.isCut }) {
                    try await writeDue()
                    if clock.now >= roundEnd {
                        roundEnd = clock.now + timing.round
                        share = state.withLockedValue { state in
                            state.own.beginRound()
                            return Int(Double(state.own.count) * (Self.tick / timing.round) * 1.5) + 1
                        }
                    }
                    try await writeAgain(share)
                }
            } catch {
                logger.debug("routes are told to Redis later", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: Self.tick)
        }
    }

    private func writeDue() async throws {
        while !Task.isCancelled {
            let due = state.withLockedValue { $0.own.due(limit: Self.batch) }
            if due.isEmpty { return }
            try await write(due)
        }
    }

    private func writeAgain(_ share: Int) async throws {
        var left = share
        while left > 0 {
            let next = state.withLockedValue { $0.own.nextOfRound(limit: min(left, Self.batch)) }
            if next.isEmpty { return }
            left -= next.count
            try await write(next)
        }
    }

    // MARK: Sweeping

    private func keepSwept() async {
        let clock = ContinuousClock()
        var next = clock.now + timing.sweep
        while !Task.isCancelled {
            do {
                for node in state.withLockedValue({ $0.toSweep }) {
                    try await sweep(cause: "\(node)")
                    state.withLockedValue { _ = $0.toSweep.remove(node) }
                }
                if clock.now >= next {
                    next = clock.now + timing.sweep
                    try await sweep(cause: "all")
                }
            } catch {
                logger.debug("routes of nodes that are over are swept later", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: Self.tick)
        }
    }

    /// Of all nodes that see the cause one sweeps. One that dies at it leaves the rest to the next regular sweep.
    private func sweep(cause: String) async throws {
        let claim = RedisCommand("SET", keys.sweep(cause), "\(node)", "NX", "PX", "\(timing.sweep.milliseconds)")
        guard try await client.send(claim) != .null else { return }
        for shard in 0..<RedisRouteKeys.shards { try await sweep(shard: shard) }
    }

    func sweep(shard: Int) async throws {
        var after: AccountID?
        while true {
            let accounts = Self.accounts(try await client.send(page(of: shard, after: after, limit: Self.batch)))
            guard let last = accounts.last else { return }
            try await sweep(accounts, of: shard)
            after = last
        }
    }

    private func sweep(_ accounts: [AccountID], of shard: Int) async throws {
        let replies = try await client.send(
            accounts.map { RedisCommand(["HGETALL", keys.routes(of: $0)], key: keys.routes(of: $0), isIdempotent: true) })
        let routes = zip(accounts, replies).map { RedisRouteKeys.routes(of: $0, $1) }
        let known = state.withLockedValue { $0.live }
        let concerned = routes.map { $0.isEmpty || $0.contains { !known.contains($0.node) } }
        guard concerned.contains(true) else { return }
        // Asked after the routes were read: a node is known before it writes its first, so what is not live now is over.
        let over = Set(routes.joined().map(\.node)).subtracting(try await liveNodes())
        let swept = zip(accounts, concerned).filter(\.1).map(\.0)
        try await client.send(
            RedisCommand(
                RedisRouteScripts.sweep, keys: [keys.online(shard: shard)] + swept.map { keys.routes(of: $0) },
                arguments: ["\(over.count)"] + over.map(\.description) + swept.map { RedisRouteKeys.member($0) }, isIdempotent: true))
    }
}
#endif
