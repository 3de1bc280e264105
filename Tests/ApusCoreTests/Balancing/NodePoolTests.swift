import ApusProtocol
import NIOConcurrencyHelpers
import Testing

@testable import ApusCore

@Suite("Balancing: node pool")
struct NodePoolTests {
    private let now = ContinuousClock.now

    private static func node(_ number: UInt16, roles: Set<Role> = [.user], weight: Int = 100, http: Bool = true) -> NodeInfo {
        NodeInfo(
            id: NodeID(number: number, epoch: 1), roles: roles,
            http: http ? NetworkAddress(host: "127.0.0.1", port: 1000 + Int(number)) : nil, weight: weight, version: "1")
    }

    private static func pool(_ nodes: [NodeInfo], policy: BalancingPolicy = .roundRobin) -> NodePool {
        let pool = NodePool(
            role: .user, policy: policy, breaker: .init(volumeMin: 2, pause: .seconds(3)), random: SeededRandom(1))
        pool.update(nodes)
        return pool
    }

    /// The numbers of the nodes that `count` calls go to, one after the other.
    private func numbers(_ pool: NodePool, _ count: Int) throws -> [UInt16] {
        try (0..<count).map { _ in
            let call = try pool.begin(at: now)
            call.end(.success, at: now)
            return call.node.id.number
        }
    }

    @Test("Only nodes of the role that listen and do not drain get calls")
    func membership() throws {
        let pool = Self.pool([
            Self.node(1), Self.node(2, roles: [.web]), Self.node(3, roles: [.web, .user]), Self.node(4, weight: 0),
            Self.node(5, http: false),
        ])
        #expect(try numbers(pool, 4) == [1, 3, 1, 3])
    }

    @Test("Another policy counts from the next call on, and nothing else changes")
    func policy() throws {
        let pool = Self.pool([Self.node(1), Self.node(2)])
        let busy = try pool.begin(at: now)
        pool.choose(by: .leastConnections)
        #expect(try numbers(pool, 3) == [2, 2, 2])
        busy.end(.success, at: now)
        pool.choose(by: .roundRobin)
        #expect(Set(try numbers(pool, 2)) == [1, 2])
    }

    @Test("Without a node the caller is told to come back")
    func empty() {
        let pool = Self.pool([Self.node(1, weight: 0)])
        #expect { try pool.begin(at: now) } throws: { error in
            let error = error as? ApusError
            return error?.code == .unavailable && error?.retryAfterMilliseconds != nil
        }
    }

    @Test("A request's second try goes to another node")
    func exclusion() throws {
        let pool = Self.pool([Self.node(1), Self.node(2)])
        let first = try pool.begin(at: now)
        let second = try pool.begin(excluding: [first.node.id], at: now)
        #expect(first.node.id != second.node.id)
        #expect(throws: ApusError.self) { try pool.begin(excluding: [first.node.id, second.node.id], at: now) }
    }

    @Test("Least connections counts the calls that are under way; a call that is dropped ends")
    func callsUnderWay() throws {
        let pool = Self.pool([Self.node(1), Self.node(2)], policy: .leastConnections)
        let held = try pool.begin(at: now)
        #expect(Set(try numbers(pool, 10)) == [held.node.id.number == 1 ? 2 : 1])
        do { _ = try pool.begin(excluding: [held.node.id], at: now) }
        held.end(.success, at: now)
        held.end(.failure, at: now)
        #expect(Set(try numbers(pool, 30)) == [1, 2])
    }

    @Test("A node that fails is left alone, and gets calls again once one of them succeeds")
    func breaker() throws {
        let pool = Self.pool([Self.node(1), Self.node(2)])
        let bad = NodeID(number: 1, epoch: 1)
        for _ in 0..<4 {
            let call = try pool.begin(at: now)
            call.end(call.node.id == bad ? .failure : .success, at: now)
        }
        #expect(pool.phase(of: bad, at: now) == .open)
        #expect(Set(try numbers(pool, 10)) == [2])
        let later = now + .seconds(3)
        let probe = try pool.begin(excluding: [NodeID(number: 2, epoch: 1)], at: later)
        probe.end(.success, at: later)
        #expect(pool.phase(of: bad, at: later) == .closed)
    }

    @Test("An update keeps what is known of nodes that stay, and forgets those that left")
    func updates() throws {
        let pool = Self.pool([Self.node(1), Self.node(2)])
        for _ in 0..<4 {
            let call = try pool.begin(at: now)
            call.end(call.node.id.number == 1 ? .failure : .success, at: now)
        }
        let late = try pool.begin(at: now)
        pool.update([Self.node(1, weight: 50), Self.node(3)])
        #expect(pool.nodes.map(\.weight) == [50, 100])
        #expect(pool.phase(of: NodeID(number: 1, epoch: 1), at: now) == .open)
        #expect(pool.phase(of: NodeID(number: 2, epoch: 1), at: now) == nil)
        late.end(.failure, at: now)
        pool.update([Self.node(2), Self.node(1)])
        #expect(pool.phase(of: NodeID(number: 2, epoch: 1), at: now) == .closed)
    }

    @Test("It follows a registry until the registry ends")
    func following() async throws {
        struct Registry: NodeRegistry {
            var states: [[NodeInfo]]

            func register(_ node: NodeInfo) async throws {}
            func deregister() async throws {}
            func nodes() -> AsyncStream<[NodeInfo]> {
                AsyncStream { continuation in
                    for state in states { continuation.yield(state) }
                    continuation.finish()
                }
            }
        }

        let pool = Self.pool([])
        await pool.follow(Registry(states: [[Self.node(1)], [Self.node(1), Self.node(2)]]))
        #expect(pool.nodes.map(\.id.number) == [1, 2])
    }
}

@Suite("Balancing: socket allocation")
struct SocketAllocationTests {
    private let now = ContinuousClock.now

    private static func node(_ number: UInt16, load: Int = 0, weight: Int = 100, url: Bool = true) -> NodeInfo {
        NodeInfo(
            id: NodeID(number: number, epoch: 1), roles: [.socket], socketURL: url ? "ws://node\(number)/v1/socket" : nil, load: load,
            weight: weight, version: "1")
    }

    /// How many of `count` accounts each node gets.
    private func shares(_ allocation: inout SocketAllocation, _ count: Int, at time: ContinuousClock.Instant) -> [UInt16: Int] {
        var random = SeededRandom(1)
        var shares: [UInt16: Int] = [:]
        for account in 0..<count {
            guard let node = allocation.allocate(for: AccountID(UInt64(account)), at: time, using: &random) else { continue }
            shares[node.id.number, default: 0] += 1
        }
        return shares
    }

    @Test("A crowd that comes between two reports is spread, after the emptier node has caught up")
    func herd() {
        var allocation = SocketAllocation(policy: .leastConnections)
        allocation.update([Self.node(1, load: 100), Self.node(2, load: 0), Self.node(3, load: 0, weight: 0)], at: now)
        #expect(shares(&allocation, 300, at: now) == [1: 100, 2: 200])
    }

    @Test("A report replaces what was counted since the last one; so does time, where the report stays the same")
    func reports() {
        for policy in [BalancingPolicy.leastConnections] {
            var allocation = SocketAllocation(policy: policy)
            allocation.update([Self.node(1), Self.node(2, load: 1_000_000)], at: now)
            #expect(shares(&allocation, 100, at: now) == [1: 100])
            allocation.update([Self.node(1, load: 2_000_000), Self.node(2, load: 1_000_000)], at: now)
            #expect(shares(&allocation, 100, at: now) == [2: 100])
        }
        var allocation = SocketAllocation(policy: .leastConnections)
        allocation.update([Self.node(1), Self.node(2, load: 100)], at: now)
        #expect(shares(&allocation, 100, at: now) == [1: 100])
        #expect(shares(&allocation, 100, at: now + .seconds(30)) == [1: 100])
    }

    @Test(
        "Where the policy does not go by load, an empty node gets more and a draining one nothing",
        arguments: [BalancingPolicy.roundRobin, .random])
    func weighted(policy: BalancingPolicy) throws {
        var allocation = SocketAllocation(policy: policy)
        allocation.update([Self.node(1, load: 20_000), Self.node(2, load: 0), Self.node(3, weight: 0)], at: now)
        let shares = shares(&allocation, 3000, at: now)
        #expect(shares[3] == nil)
        let (full, empty) = (try #require(shares[1]), try #require(shares[2]))
        #expect(empty > full * 3 / 2 && full > 500, "\(shares)")
    }

    @Test("With consistent hashing an account keeps its node while the nodes stay")
    func sticky() {
        var (allocation, random) = (SocketAllocation(policy: .consistentHash), SeededRandom(1))
        // Enough load that one account more or less is within the bound.
        let nodes = [Self.node(1, load: 1000), Self.node(2, load: 1000), Self.node(3, load: 1000)]
        func places() -> [UInt16?] {
            allocation.update(nodes, at: now)
            return (0..<50).map { allocation.allocate(for: AccountID($0), at: now, using: &random)?.id.number }
        }
        let first = places()
        #expect(Set(first) == [1, 2, 3])
        #expect(places() == first)
    }

    @Test("A node that the client could not reach is given to it only when there is no other", arguments: BalancingPolicy.allCases)
    func avoided(policy: BalancingPolicy) {
        var (allocation, random) = (SocketAllocation(policy: policy), SeededRandom(1))
        allocation.update([Self.node(1), Self.node(2, load: 1_000), Self.node(3, weight: 0)], at: now)
        let dead = Self.node(1).socketURL
        for account in 0..<UInt64(50) {
            #expect(allocation.allocate(for: AccountID(account), avoiding: dead, at: now, using: &random)?.id.number == 2)
        }
        allocation.update([Self.node(1), Self.node(3, weight: 0)], at: now)
        #expect(allocation.allocate(for: AccountID(1), avoiding: dead, at: now, using: &random)?.id.number == 1)
    }

    @Test("Without a node that clients can reach there is none")
    func none() {
        var allocation = SocketAllocation(policy: .random)
        allocation.update([Self.node(1, url: false), Self.node(2, weight: 0)], at: now)
        #expect(shares(&allocation, 3, at: now).isEmpty)
    }
}
