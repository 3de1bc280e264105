import ApusProtocol

/// Spreads accounts over the socket nodes. A pure value; time and randomness are handed in.
///
/// What nodes say of their load is some seconds old. When thousands of clients ask at once because their node died, all of them
/// would be sent to the one that had the least; so what was given to a node since its last report counts as well.
public struct SocketAllocation: Sendable {
    private struct Member {
        var info: NodeInfo
        var given = 0
        /// When counting began.
        var countedSince: ContinuousClock.Instant
    }

    /// Clients that were given a node and did not come must not count for ever where the node's report does not change.
    private static let countFor = Duration.seconds(30)

    private var balancer: Balancer
    private var members: [Member] = []

    public init(policy: BalancingPolicy) { balancer = Balancer(policy) }

    public mutating func choose(by policy: BalancingPolicy) { balancer.policy = policy }

    /// - Parameter nodes: all live nodes, of any role.
    public mutating func update(_ nodes: [NodeInfo], at now: ContinuousClock.Instant) {
        members =
            nodes
            .filter { $0.roles.contains(.socket) && $0.socketURL != nil }
            .sorted { ($0.id.number, $0.id.epoch) < ($1.id.number, $1.id.epoch) }
            .map { info in
                guard var member = members.first(where: { $0.info.id == info.id }), member.info.load == info.load else {
                    return Member(info: info, countedSince: now)
                }
                member.info = info
                return member
            }
        balancer.keep(members.map(\.info.id))
    }

    /// - Parameter avoided: the `socketURL` of a node that is chosen only when there is no other.
    /// - Returns: nil when there is no node that takes connections.
    public mutating func allocate(
        for account: AccountID, avoiding avoided: String? = nil, at now: ContinuousClock.Instant,
        using random: inout some RandomNumberGenerator
    ) -> NodeInfo? {
        for index in members.indices where members[index].countedSince + Self.countFor <= now {
            members[index].given = 0
            members[index].countedSince = now
        }
        let others = avoided.map { avoided in candidates(members.filter { $0.info.socketURL != avoided }) } ?? []
        guard
            let id = balancer.pick(from: others, key: account.rawValue, using: &random)
                ?? balancer.pick(from: candidates(members), key: account.rawValue, using: &random),
            let index = members.firstIndex(where: { $0.info.id == id })
        else { return nil }
        members[index].given += 1
        return members[index].info
    }

    /// `least-connections` and `consistent-hash` go by load themselves. For the others the share of a node falls with its load:
    /// one that is empty gets twice as much as one with the average.
    private func candidates(_ members: [Member]) -> [Balancer.Candidate] {
        let known = members.map {
            Balancer.Candidate(id: $0.info.id, weight: $0.info.weight, load: min($0.info.load, Balancer.valueMax / 2) + $0.given)
        }
        switch balancer.policy {
        case .leastConnections, .consistentHash: return known
        case .roundRobin, .random:
            let average = Double(known.reduce(0) { $0 + $1.load }) / Double(max(1, known.count)) + 1
            return known.map { node in
                // In thousandths, so that small weights keep their differences.
                let share = Double(node.weight) * 1000 * average / (average + Double(node.load))
                return Balancer.Candidate(id: node.id, weight: node.weight == 0 ? 0 : max(1, Int(share)), load: node.load)
            }
        }
    }
}
