import ApusProtocol
import Testing

@testable import ApusCore

/// SplitMix64: the same numbers in every run.
struct SeededRandom: RandomNumberGenerator, Sendable {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite("Balancing: policies")
struct BalancerTests {
    private static func node(_ number: UInt16, epoch: UInt64 = 1) -> NodeID { NodeID(number: number, epoch: epoch) }

    private static func candidates(_ weights: Int...) -> [Balancer.Candidate] {
        weights.enumerated().map { Balancer.Candidate(id: node(UInt16($0)), weight: $1) }
    }

    /// How often each is picked in `count` rounds; keys count up.
    private static func share(
        _ policy: BalancingPolicy, _ candidates: [Balancer.Candidate], _ count: Int
    ) -> [UInt16: Int] {
        var (balancer, random) = (Balancer(policy), SeededRandom(1))
        var share: [UInt16: Int] = [:]
        for key in 0..<count {
            if let id = balancer.pick(from: candidates, key: UInt64(key), using: &random) { share[id.number, default: 0] += 1 }
        }
        return share
    }

    @Test("The round robin gives each node its weight's turns, spread over the round")
    func roundRobin() {
        var (balancer, random) = (Balancer(.roundRobin), SeededRandom(1))
        let picks = (0..<14).map { _ in balancer.pick(from: Self.candidates(5, 1, 1), using: &random)?.number }
        #expect(picks == [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0])
    }

    @Test("Chance and hashing share by weight", arguments: [BalancingPolicy.random, .consistentHash])
    func weights(policy: BalancingPolicy) throws {
        let share = Self.share(policy, Self.candidates(100, 300), 40_000)
        #expect((9_500...10_500).contains(try #require(share[0])))
        #expect(share.values.reduce(0, +) == 40_000)
    }

    @Test("A node of weight 0 gets nothing, and without any other there is none", arguments: BalancingPolicy.allCases)
    func draining(policy: BalancingPolicy) {
        #expect(Set(Self.share(policy, Self.candidates(0, 100, 0, 1), 1000).keys).isSubset(of: [1, 3]))
        #expect(Self.share(policy, Self.candidates(0, -5), 10).isEmpty)
        #expect(Self.share(policy, [], 10).isEmpty)
    }

    @Test("Least connections takes the least load for its weight, and equals by chance")
    func leastConnections() {
        var (balancer, random) = (Balancer(.leastConnections), SeededRandom(1))
        func pick(_ loads: (load: Int, weight: Int)...) -> Set<UInt16> {
            let nodes = loads.enumerated().map { Balancer.Candidate(id: Self.node(UInt16($0)), weight: $1.weight, load: $1.load) }
            return Set((0..<50).compactMap { _ in balancer.pick(from: nodes, using: &random)?.number })
        }
        #expect(pick((3, 100), (1, 100), (2, 100)) == [1])
        #expect(pick((3, 100), (5, 200)) == [1])
        #expect(pick((1, 100), (1, 100), (9, 100)) == [0, 1])
    }

    @Test("Absurd weights and loads overflow nothing", arguments: BalancingPolicy.allCases)
    func absurd(policy: BalancingPolicy) {
        let nodes = (0..<1024).map { Balancer.Candidate(id: Self.node(UInt16($0)), weight: .max, load: .max) }
        #expect(Self.share(policy, nodes, 10).values.reduce(0, +) == 10)
    }

    @Test("A key stays with its node when others come and go, and when its node begins a new life")
    func stickiness() {
        var (balancer, random) = (Balancer(.consistentHash), SeededRandom(1))
        func places(_ numbers: [UInt16], epoch: UInt64 = 1) -> [UInt16?] {
            let nodes = numbers.map { Balancer.Candidate(id: Self.node($0, epoch: epoch)) }
            return (0..<2000).map { balancer.pick(from: nodes, key: $0, using: &random)?.number }
        }
        let all = places([1, 2, 3, 4])
        #expect(places([4, 3, 2, 1], epoch: 9) == all)
        let without = places([1, 2, 4])
        for (before, after) in zip(all, without) where before != 3 { #expect(before == after) }
        let moved = zip(all, without).count { $0 != $1 }
        #expect((350...650).contains(moved))
    }

    @Test("A node that a popular key would overload passes it on to the key's next node")
    func boundedLoad() {
        var (balancer, random) = (Balancer(.consistentHash), SeededRandom(1))
        var loads = [0, 0, 0, 0]
        for _ in 0..<1000 {
            let nodes = loads.enumerated().map { Balancer.Candidate(id: Self.node(UInt16($0)), load: $1) }
            if let id = balancer.pick(from: nodes, key: 42, using: &random) { loads[Int(id.number)] += 1 }
        }
        #expect(loads.reduce(0, +) == 1000)
        #expect(loads.allSatisfy { $0 <= 313 }, "\(loads)")
    }

    @Test("What is forgotten of a node that left does not favour it when it comes back")
    func forgetting() {
        var (balancer, random) = (Balancer(.roundRobin), SeededRandom(1))
        _ = balancer.pick(from: Self.candidates(1, 5), using: &random)
        balancer.keep([])
        #expect(balancer.pick(from: Self.candidates(1, 1), using: &random)?.number == 0)
    }
}
