import ApusProtocol
import Foundation

/// How one of several nodes is chosen.
public enum BalancingPolicy: String, Sendable, Hashable, Codable, CaseIterable {
    /// In turn, each as often as its weight says.
    case roundRobin = "round-robin"
    /// By chance, each as likely as its weight says.
    case random
    /// The one with the least load for its weight.
    case leastConnections = "least-connections"
    /// The same key goes to the same node as long as that node has room; when nodes come and go, few keys move.
    case consistentHash = "consistent-hash"
}

/// Chooses one of several nodes. A pure value: load, weights and randomness are handed in.
public struct Balancer: Sendable {
    public struct Candidate: Sendable, Hashable {
        public let id: NodeID
        /// Its share relative to the others; 0: it gets none.
        public let weight: Int
        /// What it has to do now.
        public let load: Int

        /// - Parameters:
        ///   - weight: what nodes say of themselves may be anything; it is brought into 0 to ``valueMax``.
        ///   - load: likewise.
        public init(id: NodeID, weight: Int = 100, load: Int = 0) {
            self.id = id
            self.weight = min(max(0, weight), valueMax)
            self.load = min(max(0, load), valueMax)
        }
    }

    /// Of a weight or a load: products and sums of these do not overflow.
    public static let valueMax = 1_000_000_000

    /// With `consistent-hash` no node gets more than this many times its fair share; what is beyond goes to the key's next
    /// node (consistent hashing with bounded loads).
    public static let loadBound = 1.25

    /// May change between two choices.
    public var policy: BalancingPolicy
    /// How much each node is owed, for the round robin.
    private var credits: [NodeID: Int] = [:]

    public init(_ policy: BalancingPolicy) { self.policy = policy }

    /// - Parameter key: what `consistent-hash` goes by; without one it chooses by chance.
    /// - Returns: nil when no candidate has a weight.
    public mutating func pick(
        from candidates: [Candidate], key: UInt64? = nil, using random: inout some RandomNumberGenerator
    ) -> NodeID? {
        let usable = candidates.filter { $0.weight > 0 }
        guard usable.count > 1 else { return usable.first?.id }
        switch (policy, key) {
        case (.roundRobin, _): return roundRobin(usable)
        case (.random, _), (.consistentHash, nil): return Self.random(usable, using: &random)
        case (.leastConnections, _): return Self.leastLoaded(usable, using: &random)
        case (.consistentHash, let key?): return Self.hashed(usable, key)
        }
    }

    /// Forgets all nodes but these.
    public mutating func keep(_ ids: some Collection<NodeID>) {
        let kept = Set(ids)
        credits = credits.filter { kept.contains($0.key) }
    }

    /// Smooth weighted round robin: each node earns its weight in every round and the richest pays for all, so that the turns of
    /// a heavy node are spread and not in a row.
    private mutating func roundRobin(_ candidates: [Candidate]) -> NodeID? {
        var total = 0
        var best: (id: NodeID, credit: Int)?
        for candidate in candidates {
            let credit = credits[candidate.id, default: 0] + candidate.weight
            credits[candidate.id] = credit
            total += candidate.weight
            if best.map({ credit > $0.credit }) ?? true { best = (candidate.id, credit) }
        }
        guard let best else { return nil }
        credits[best.id] = best.credit - total
        return best.id
    }

    private static func random(_ candidates: [Candidate], using random: inout some RandomNumberGenerator) -> NodeID? {
        var ticket = Int.random(in: 0..<candidates.reduce(0) { $0 + $1.weight }, using: &random)
        for candidate in candidates {
            ticket -= candidate.weight
            if ticket < 0 { return candidate.id }
        }
        return nil
    }

    /// Among equals by chance: callers that know the same loads must not all go to the same node.
    private static func leastLoaded(_ candidates: [Candidate], using random: inout some RandomNumberGenerator) -> NodeID? {
        var best: [Candidate] = []
        for candidate in candidates {
            guard let first = best.first else {
                best = [candidate]
                continue
            }
            let difference = (candidate.load + 1) * first.weight - (first.load + 1) * candidate.weight
            if difference < 0 { best = [candidate] } else if difference == 0 { best.append(candidate) }
        }
        return best.randomElement(using: &random)?.id
    }

    /// Weighted rendezvous hashing. A node's place follows from its number: it gets its keys back after a restart.
    private static func hashed(_ candidates: [Candidate], _ key: UInt64) -> NodeID? {
        let weights = Double(candidates.reduce(0) { $0 + $1.weight })
        let loads = Double(candidates.reduce(1) { $0 + $1.load })
        let ranked =
            candidates
            .map { (candidate: $0, score: score($0, key)) }
            .sorted { ($0.score, $1.candidate.id.number) > ($1.score, $0.candidate.id.number) }
        let withRoom = ranked.first { entry in
            let fair = loads * Double(entry.candidate.weight) / weights
            return Double(entry.candidate.load + 1) <= (loadBound * fair).rounded(.up)
        }
        return (withRoom ?? ranked.first)?.candidate.id
    }

    private static func score(_ candidate: Candidate, _ key: UInt64) -> Double {
        let hash = mixed(key ^ mixed(UInt64(candidate.id.number) &+ 1))
        // In (0, 1): the upper 53 bits, moved off zero by half a step.
        let unit = (Double(hash >> 11) + 0.5) / 0x1p53
        return -Double(candidate.weight) / log(unit)
    }

    /// The finalizer of SplitMix64.
    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
