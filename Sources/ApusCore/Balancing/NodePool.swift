import ApusProtocol
import NIOConcurrencyHelpers

/// The nodes of one role that answer over HTTP, as a caller sees them: which there are, how many calls each has of this process, and which are left
/// alone because they fail. Follows a registry and chooses a node for each call.
public final class NodePool: Sendable {
    private struct Shared {
        var state: NodePoolState
        var random: any RandomNumberGenerator & Sendable
    }

    public let role: Role
    private let shared: NIOLockedValueBox<Shared>

    public init(
        role: Role, policy: BalancingPolicy, breaker: CircuitBreaker.Configuration = .init(),
        random: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.role = role
        shared = NIOLockedValueBox(
            Shared(state: NodePoolState(role: role, policy: policy, breaker: breaker), random: random))
    }

    /// Keeps the pool up to date until the task is cancelled or the registry ends.
    public func follow(_ registry: any NodeRegistry) async {
        for await nodes in registry.nodes() { update(nodes) }
    }

    /// - Parameter nodes: all live nodes, of any role.
    public func update(_ nodes: [NodeInfo]) { shared.withLockedValue { $0.state.update(nodes) } }

    /// For calls that begin from here on.
    public func choose(by policy: BalancingPolicy) { shared.withLockedValue { $0.state.choose(by: policy) } }

    /// The live nodes of the role, by number.
    public var nodes: [NodeInfo] { shared.withLockedValue { $0.state.nodes } }

    public func phase(of node: NodeID, at now: ContinuousClock.Instant) -> CircuitBreaker.Phase? {
        shared.withLockedValue { $0.state.phase(of: node, at: now) }
    }

    /// Chooses a node for one call.
    /// - Parameters:
    ///   - key: what `consistent-hash` goes by.
    ///   - excluded: nodes that have been tried for this request.
    /// - Returns: the call, to be ended by ``Call/end(_:at:)``.
    /// - Throws: ``ApusError`` `unavailable` when no node takes calls.
    public func begin(
        key: UInt64? = nil, excluding excluded: Set<NodeID> = [], at now: ContinuousClock.Instant
    ) throws -> Call {
        let begun = shared.withLockedValue { shared in
            shared.state.begin(key: key, excluding: excluded, at: now, using: &shared.random)
        }
        guard let begun else {
            throw ApusError(.unavailable, "no \(role.rawValue) node takes requests now", retryAfterMilliseconds: 1000)
        }
        return Call(pool: self, begun: begun)
    }

    /// One call to a node. Ends once: what comes after the first ``end(_:at:)`` has no effect, and one that is dropped is
    /// abandoned.
    public final class Call: Sendable {
        public var node: NodeInfo { begun.node }

        private let pool: NodePool
        private let begun: NodePoolState.Begun
        private let hasEnded = NIOLockedValueBox(false)

        fileprivate init(pool: NodePool, begun: NodePoolState.Begun) {
            self.pool = pool
            self.begun = begun
        }

        public func end(_ outcome: CircuitBreaker.Outcome, at now: ContinuousClock.Instant) {
            let isFirst = hasEnded.withLockedValue { ended in
                defer { ended = true }
                return !ended
            }
            if isFirst { pool.shared.withLockedValue { $0.state.ended(begun, outcome, at: now) } }
        }

        deinit { end(.abandoned, at: .now) }
    }
}

/// What a ``NodePool`` knows. A pure value.
public struct NodePoolState: Sendable {
    /// A call that has begun.
    public struct Begun: Sendable {
        public var node: NodeInfo
        fileprivate var permit: CircuitBreaker.Permit
    }

    private struct Member {
        var info: NodeInfo
        var callsUnderWay = 0
        var breaker: CircuitBreaker
    }

    private let role: Role
    private let breaker: CircuitBreaker.Configuration
    private var balancer: Balancer
    /// By number, so that the same calls choose the same nodes.
    private var members: [Member] = []

    public init(role: Role, policy: BalancingPolicy, breaker: CircuitBreaker.Configuration) {
        self.role = role
        self.breaker = breaker
        balancer = Balancer(policy)
    }

    public var nodes: [NodeInfo] { members.map(\.info) }

    public mutating func choose(by policy: BalancingPolicy) { balancer.policy = policy }

    public func phase(of node: NodeID, at now: ContinuousClock.Instant) -> CircuitBreaker.Phase? {
        members.first { $0.info.id == node }?.breaker.phase(at: now)
    }

    /// Those that stay keep their calls and their breaker.
    public mutating func update(_ nodes: [NodeInfo]) {
        members =
            nodes
            .filter { $0.roles.contains(role) && $0.http != nil }
            .sorted { ($0.id.number, $0.id.epoch) < ($1.id.number, $1.id.epoch) }
            .map { info in
                var member = members.first { $0.info.id == info.id } ?? Member(info: info, breaker: CircuitBreaker(breaker))
                member.info = info
                return member
            }
        balancer.keep(members.map(\.info.id))
    }

    /// - Returns: nil when no node takes calls.
    public mutating func begin(
        key: UInt64?, excluding excluded: Set<NodeID>, at now: ContinuousClock.Instant, using random: inout some RandomNumberGenerator
    ) -> Begun? {
        let candidates = members.filter { !excluded.contains($0.info.id) && $0.breaker.admits(at: now) }
            .map { Balancer.Candidate(id: $0.info.id, weight: $0.info.weight, load: $0.callsUnderWay) }
        guard let id = balancer.pick(from: candidates, key: key, using: &random),
            let index = members.firstIndex(where: { $0.info.id == id }), let permit = members[index].breaker.permit(at: now)
        else { return nil }
        members[index].callsUnderWay += 1
        return Begun(node: members[index].info, permit: permit)
    }

    public mutating func ended(_ call: Begun, _ outcome: CircuitBreaker.Outcome, at now: ContinuousClock.Instant) {
        guard let index = members.firstIndex(where: { $0.info.id == call.node.id }) else { return }
        members[index].callsUnderWay -= 1
        members[index].breaker.ended(call.permit, outcome, at: now)
    }
}
