#if Cluster
import ApusCore
import ApusProtocol
import NIOCore
import Testing

@testable import ApusBackends

/// The state machines of the Redis client and of the route table, without Redis.
@Suite("Redis: state machines") struct RedisStateTests {
    private static func request(_ id: UInt64, _ count: Int = 1, failsFast: Bool = false) -> RedisPipeline<UInt64>.Request {
        .init(id: id, commands: Array(repeating: RedisCommand("PING"), count: count), failsFast: failsFast, token: id)
    }

    @Test("What waits is written in order once connected; replies go to the requests in that order")
    func order() throws {
        var pipeline = RedisPipeline<UInt64>(commandsMax: 10)
        #expect(pipeline.submit(Self.request(1, 2)) == .wait && pipeline.submit(Self.request(2)) == .wait)
        #expect(pipeline.opened().map(\.id) == [1, 2])
        #expect(pipeline.submit(Self.request(3)) == .write)
        #expect(try pipeline.receive(.integer(1)) == nil)
        let first = try #require(try pipeline.receive(.integer(2)))
        #expect(first.token == 1 && first.replies == [.integer(1), .integer(2)])
        #expect(try pipeline.receive(.null)?.token == 2)
        #expect(try pipeline.receive(.null)?.token == 3)
        #expect(pipeline.commandCount == 0)
        #expect(throws: (any Error).self) { try pipeline.receive(.null) }
    }

    @Test("More commands than fit are refused, until some are answered, lost or expired")
    func bound() throws {
        var pipeline = RedisPipeline<UInt64>(commandsMax: 3)
        #expect(pipeline.submit(Self.request(1, 2)) == .wait && pipeline.submit(Self.request(2, 2)) == .refuse)
        guard case .unsent(1) = pipeline.expire(1) else { return #expect(Bool(false), "it waits no more") }
        #expect(pipeline.commandCount == 0 && !pipeline.isWaiting && pipeline.expire(1) == nil)
        _ = pipeline.opened()
        #expect(pipeline.submit(Self.request(3, 3)) == .write && pipeline.submit(Self.request(4)) == .refuse)
        _ = try pipeline.receive(.null)
        #expect(pipeline.closed() == [3] && pipeline.commandCount == 0)
        #expect(pipeline.submit(Self.request(5, 3)) == .wait)
    }

    @Test("A reply that comes after the deadline is thrown away and does not shift the others")
    func late() throws {
        var pipeline = RedisPipeline<UInt64>(commandsMax: 10)
        _ = pipeline.opened()
        for id in 1...3 as ClosedRange<UInt64> { _ = pipeline.submit(Self.request(id)) }
        #expect(try pipeline.receive(.null)?.token == 1)
        guard case .unanswered(2, isStalled: false) = pipeline.expire(2) else {
            return #expect(Bool(false), "something was answered since")
        }
        #expect(try pipeline.receive(.integer(2)) == nil)
        #expect(try pipeline.receive(.integer(3))?.replies == [.integer(3)])
        _ = pipeline.submit(Self.request(4))
        guard case .unanswered(4, isStalled: true) = pipeline.expire(4) else { return #expect(Bool(false), "nothing was answered since") }
        #expect(pipeline.closed() == [])
    }

    @Test("Only those that do not wait for a second attempt fail with the first")
    func connectFailed() {
        var pipeline = RedisPipeline<UInt64>(commandsMax: 10)
        _ = pipeline.submit(Self.request(1))
        _ = pipeline.submit(Self.request(2, failsFast: true))
        #expect(pipeline.connectFailed() == [2])
        #expect(pipeline.opened().map(\.id) == [1])
    }

    private static let (a, b) = (NetworkAddress(host: "a", port: 1), NetworkAddress(host: "b", port: 2))

    private static func exchange(_ commands: RedisCommand...) -> RedisExchange {
        RedisExchange(commands, deadline: .uptimeNanoseconds(1_000_000_000))
    }

    /// All that is left, which goes to one server.
    private static func batch(_ exchange: inout RedisExchange) throws -> RedisExchange.Batch {
        let batches = exchange.batches { _ in a }
        return try #require(batches.first)
    }

    private static let now = NIODeadline.uptimeNanoseconds(0)

    @Test("A lost command is sent again if it is idempotent, and one that was not sent in any case")
    func lost() throws {
        var exchange = Self.exchange(RedisCommand("GET", "a", isIdempotent: true), RedisCommand("INCR", "b"))
        let begins = exchange.begin(now: Self.now)
        #expect(begins)
        let first = try Self.batch(&exchange)
        exchange.take(.unsent("refused"), of: first, isCluster: false)
        #expect(exchange.pause(now: Self.now) != nil)
        let beginsAgain = exchange.begin(now: Self.now)
        #expect(beginsAgain)
        let second = try Self.batch(&exchange)
        #expect(second.commands.count == 2)
        exchange.take(.lost("reset"), of: second, isCluster: false)
        let third = try Self.batch(&exchange)
        #expect(third.commands.map(\.arguments) == [["GET", "a"]])
        exchange.take([.null], of: third)
        let goesOn = exchange.begin(now: Self.now)
        #expect(!goesOn)
        #expect(exchange.results[0] == .success(.null))
        #expect(throws: RedisExchange.Failure.self) { try exchange.results[1].get() }
    }

    @Test("ASK is for once and with ASKING, MOVED for good, an unknown script is sent whole, other errors are the answer")
    func redirected() throws {
        var exchange = Self.exchange(
            RedisCommand("GET", "a"), RedisCommand("GET", "b"), RedisCommand(RedisScript("return 1"), keys: ["c"]), RedisCommand("GET", "d")
        )
        let first = try Self.batch(&exchange)
        exchange.take([.error("ASK 1 b:2"), .error("MOVED 7 b:2"), .error("NOSCRIPT no"), .error("WRONGTYPE no")], of: first)
        #expect(exchange.takeMoves().map(\.0) == [7])
        let again = exchange.batches { $0.key == "b" ? Self.b : Self.a }
        let toB = try #require(again.first { $0.address == Self.b })
        #expect(toB.commands.map(\.arguments) == [["ASKING"], ["GET", "a"], ["GET", "b"]])
        let toA = try #require(again.first { $0.address == Self.a })
        #expect(toA.commands.map(\.arguments) == [["EVAL", "return 1", "1", "c"]])
        exchange.take([.string(Array("OK".utf8)), .integer(1), .integer(2)], of: toB)
        exchange.take([.integer(3)], of: toA)
        #expect(
            exchange.results == [.success(.integer(1)), .success(.integer(2)), .success(.integer(3)), .failure(.refused("WRONGTYPE no"))])
    }

    @Test("Servers that send a command to and fro do not do so for ever, and nothing goes on beyond the deadline")
    func endless() throws {
        var exchange = Self.exchange(RedisCommand("GET", "a"))
        var rounds = 0
        while exchange.begin(now: Self.now) {
            rounds += 1
            let batch = try Self.batch(&exchange)
            exchange.take(batch.commands.map { _ in .error("ASK 1 b:2") }, of: batch)
        }
        #expect(rounds < 100)
        #expect(throws: RedisExchange.Failure.self) { try exchange.results[0].get() }
        var late = Self.exchange(RedisCommand("GET", "a"))
        let begins = late.begin(now: .uptimeNanoseconds(1_000_000_000))
        #expect(!begins)
    }

    private static func route(_ session: UInt64, of account: UInt64) -> Route {
        Route(session: SessionID(session), account: AccountID(account), device: DeviceID(1), node: NodeID(number: 1, epoch: 1))
    }

    @Test("What Redis was not told stays due; changes that cross end as the node has it")
    func ownRoutes() {
        var own = OwnRoutes()
        let (one, two) = (Self.route(1, of: 1), Self.route(2, of: 1))
        own.add(one)
        own.add(two)
        #expect(own.due(limit: 10) == [.write(one), .write(two)] && own.due(limit: 1).count == 1)
        own.done(.write(one))
        #expect(own.due(limit: 10) == [.write(two)])
        // Removed while the write was on its way: whichever came last, Redis is told once more.
        own.remove(two)
        own.done(.erase(two))
        own.done(.write(two))
        #expect(own.due(limit: 10) == [.erase(two)])
        own.done(.erase(two))
        #expect(own.due(limit: 10) == [] && own.count == 1)
        own.add(two)
        own.remove(two)
        own.lost()
        #expect(own.due(limit: 10) == [.erase(two), .write(one)], "a part of it may not be lost")
    }

    @Test("A round writes each route once, without those that went meanwhile; what waits to be erased is bounded")
    func rounds() {
        var own = OwnRoutes(unerasedMax: 2)
        for account in 1...5 as ClosedRange<UInt64> { own.add(Self.route(account, of: account)) }
        own.beginRound()
        own.remove(Self.route(3, of: 3))
        let written = own.nextOfRound(limit: 3) + own.nextOfRound(limit: 3) + own.nextOfRound(limit: 3)
        #expect(Set(written) == Set([1, 2, 4, 5].map { .write(Self.route($0, of: $0)) }) && written.count == 4)
        own.remove(Self.route(1, of: 1))
        own.remove(Self.route(2, of: 2))
        #expect(own.due(limit: 2) == [.erase(Self.route(1, of: 1)), .erase(Self.route(2, of: 2))])
    }
}
#endif
