#if Cluster
import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import Foundation
import Logging
import Testing

/// What the client and the route table do when Redis goes, hangs, forgets or moves.
@Suite("Redis: faults") struct RedisFaultTests {
    @Test("After kill -9 the client waits for Redis to come back, then goes on")
    func killed() async throws {
        try await RedisServer.with { redis, port in
            try await withRedisClient("redis://127.0.0.1:\(port)", timeout: .seconds(20)) { client in
                try await client.send(RedisCommand("SET", "a", "1"))
                await redis.kill()
                async let waiting = client.send(RedisCommand("GET", "a", isIdempotent: true))
                try await redis.start()
                #expect(try await waiting == .null, "it came back empty")
                try await client.send(RedisCommand("SET", "a", "2"))
                #expect(try await client.send(RedisCommand("GET", "a")).text == "2")
            }
        }
    }

    @Test("While Redis is away every call fails as unavailable by its deadline")
    func away() async throws {
        let port = try await RedisServer.freePort()
        for url in ["redis://127.0.0.1:\(port)", "redis://127.0.0.1:\(port)?cluster=false", "redis://127.0.0.1:\(port)?cluster=true"] {
            try await withRedisClient(url, timeout: .milliseconds(300)) { client in
                let start = ContinuousClock.now
                await #expect(performing: { try await client.send(RedisCommand("GET", "a")) }, throws: isUnavailable)
                #expect(ContinuousClock.now - start < .seconds(3))
            }
        }
    }

    @Test("A Redis that hangs costs a bounded queue and the deadline; when it goes on, so does the client")
    func paused() async throws {
        try await RedisServer.with { redis, port in
            try await withRedisClient("redis://127.0.0.1:\(port)", timeout: .milliseconds(500), commandsMax: 50) { client in
                try await client.send(RedisCommand("SET", "a", "1"))
                await redis.setPaused(true)
                let start = ContinuousClock.now
                let (refused, expired) = try await withThrowingTaskGroup(of: Duration.self) { group in
                    for _ in 0..<200 {
                        group.addTask {
                            await #expect(performing: { try await client.send(RedisCommand("GET", "a")) }, throws: isUnavailable)
                            return ContinuousClock.now - start
                        }
                    }
                    let times = try await group.reduce(into: []) { $0.append($1) }
                    return (times.filter { $0 < .milliseconds(500) }.count, times.filter { $0 >= .milliseconds(500) }.count)
                }
                #expect(refused >= 150 && expired <= 50, "no more than fit wait; the others know at once")
                await redis.setPaused(false)
                try await eventually { (try? await client.send(RedisCommand("GET", "a")))?.text == "1" }
            }
        }
    }

    @Test("Routes that were added and removed while Redis was away are told when it is back; it came back empty")
    func routesWhileAway() async throws {
        try await RedisServer.with { redis, port in
            let nodes = RouteNodes(url: "redis://127.0.0.1:\(port)")
            let (first, second) = (NodeID(number: 1, epoch: 1), NodeID(number: 2, epoch: 1))
            let (a, b) = (try await nodes.join(first), try await nodes.join(second))
            func route(_ account: UInt64) -> Route {
                Route(session: SessionID(account), account: AccountID(account), device: DeviceID(1), node: first)
            }
            for account in 1...3 as ClosedRange<UInt64> { try await a.add(route(account)) }
            #expect(try await b.onlineCount() == 3)
            await redis.kill()
            try await a.add(route(4))
            try await a.remove(route(1))
            await #expect(performing: { try await b.routes(of: AccountID(2)) }, throws: isUnavailable)
            try await redis.start()
            try await eventually { (try? await b.onlineAccounts(after: nil, limit: 9)) == [2, 3, 4].map { AccountID($0) } }
            #expect(try await b.routes(of: AccountID(4)) == [route(4)])
            #expect(try await b.routes(of: AccountID(1)) == [])
            await nodes.endAll()
        }
    }

    @Test("A route that was removed while Redis hung is gone when it goes on")
    func removedWhilePaused() async throws {
        try await RedisServer.with { redis, port in
            let nodes = RouteNodes(url: "redis://127.0.0.1:\(port)", timeout: .milliseconds(300))
            let (first, second) = (NodeID(number: 1, epoch: 1), NodeID(number: 2, epoch: 1))
            let (a, b) = (try await nodes.join(first), try await nodes.join(second))
            func route(_ session: UInt64) -> Route {
                Route(session: SessionID(session), account: AccountID(1), device: DeviceID(1), node: first)
            }
            for session in 1...2 as ClosedRange<UInt64> { try await a.add(route(session)) }
            await redis.setPaused(true)
            try await a.remove(route(1))
            await #expect(performing: { try await a.routes(of: AccountID(1)) }, throws: isUnavailable)
            await redis.setPaused(false)
            try await eventually { (try? await b.routes(of: AccountID(1))) == [route(2)] }
            await nodes.endAll()
        }
    }

    @Test("A node that hung for longer than its life is back with all its routes when it goes on")
    func lifeLost() async throws {
        try await RedisServer.with { _, port in
            let nodes = RouteNodes(url: "redis://127.0.0.1:\(port)")
            let (first, second) = (NodeID(number: 1, epoch: 1), NodeID(number: 2, epoch: 1))
            let (a, b) = (try await nodes.join(first), try await nodes.join(second))
            let route = Route(session: SessionID(1), account: AccountID(1), device: DeviceID(1), node: first)
            try await a.add(route)
            // As if it had hung: its life is over, and the others swept.
            try await RedisServer.ask(port: port, ["ZREM", "apus:nodes", "\(first)"])
            try await RedisServer.ask(port: port, ["DEL", "apus:routes:{1}:1", "apus:online:{1}"])
            try await eventually { try await b.routes(of: AccountID(1)) == [route] }
            #expect(try await b.onlineCount() == 1)
            await nodes.endAll()
        }
    }
}

/// In a cluster.
extension RedisFaultTests {
    private func withCluster(
        _ body: (_ client: RedisClient, _ servers: [MiddlewareProcess], _ ports: [Int]) async throws -> Void
    ) async throws {
        try await RedisServer.withCluster { servers, ports in
            // One seed, and the kind of Redis is to be found out.
            try await withRedisClient("redis://127.0.0.1:\(ports[0])", timeout: .seconds(20)) { try await body($0, servers, ports) }
        }
    }

    private func ask(_ port: Int, _ command: String...) async throws -> String {
        try await RedisServer.ask(port: port, command).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @Test("Commands of one call reach all nodes of a cluster and come back in their order")
    func spread() async throws {
        try await withCluster { client, _, ports in
            let keys = (0..<300).map { "key\($0)" }
            try await client.send(keys.map { RedisCommand("SET", $0, "of \($0)") })
            let replies = try await client.send(keys.map { RedisCommand("GET", $0) })
            let wrong = zip(keys, replies).filter { $1.text != "of \($0)" }.map { "\($0): \($1)" }
            #expect(wrong == [])
            for port in ports { #expect(try await ask(port, "DBSIZE") != "0") }
        }
    }

    @Test("While a slot moves ASK is followed, once it has moved MOVED is, and then the new node is asked at once")
    func migration() async throws {
        try await withCluster { client, _, ports in
            let slot = "\(RedisHashSlot.of("{t}"))"
            try await client.send(RedisCommand("SET", "old{t}", "1"))
            let counts = try await withThrowingTaskGroup(of: (Int, String).self) { group in
                for port in ports { group.addTask { (port, try await ask(port, "CLUSTER", "COUNTKEYSINSLOT", slot)) } }
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            let source = try #require(ports.first { counts[$0] == "1" })
            let target = try #require(ports.first { $0 != source })
            let (sourceID, targetID) = (try await ask(source, "CLUSTER", "MYID"), try await ask(target, "CLUSTER", "MYID"))
            #expect(try await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID) == "OK")
            #expect(try await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID) == "OK")

            try await client.send(RedisCommand("SET", "new{t}", "2"))
            #expect(try await ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == "1", "the new key went where the slot goes")
            #expect(try await client.send(["old{t}", "new{t}"].map { RedisCommand("GET", $0) }).map(\.text) == ["1", "2"])

            #expect(try await ask(source, "MIGRATE", "127.0.0.1", "\(target)", "old{t}", "0", "5000") == "OK")
            for port in [target, source] { #expect(try await ask(port, "CLUSTER", "SETSLOT", slot, "NODE", targetID) == "OK") }
            for _ in 0..<5 {
                #expect(try await client.send(["old{t}", "new{t}"].map { RedisCommand("GET", $0) }).map(\.text) == ["1", "2"])
            }
            let errors = try await ask(source, "INFO", "errorstats")
            #expect(errors.contains("errorstat_ASK:count=2"), "\(errors)")
            #expect(errors.contains("errorstat_MOVED:count=2"), "both of the first call, and none after it: \(errors)")
        }
    }

    @Test("With one node of a cluster killed the others answer, and it does again when it is back")
    func nodeKilled() async throws {
        try await withCluster { client, servers, ports in
            let keys = (0..<50).map { "key\($0)" }
            try await client.send(keys.map { RedisCommand("SET", $0, "1") })
            await servers[0].kill()
            try await withRedisClient("redis://127.0.0.1:\(ports[1])", timeout: .milliseconds(400)) { hasty in
                // Before the others notice and the whole cluster stops answering.
                let results = await hasty.results(of: keys.map { RedisCommand("GET", $0) })
                #expect(results.contains { (try? $0.get())?.text == "1" })
                #expect(results.contains { if case .failure(let error) = $0 { error.code == .unavailable } else { false } })
            }
            async let waiting = client.send(keys.map { RedisCommand("GET", $0, isIdempotent: true) })
            try await servers[0].start()
            #expect(Set(try await waiting.map(\.text)) == [nil, "1"], "it came back empty, and the others did not")
        }
    }
}

/// Asks until it is so; there is no event for what happens inside of Redis.
private func eventually(_ what: () async throws -> Bool, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while try await !what() {
        guard ContinuousClock.now < deadline else {
            Issue.record("it never came about", sourceLocation: sourceLocation)
            return
        }
        try await Task.sleep(for: .milliseconds(20))
    }
}
#endif
