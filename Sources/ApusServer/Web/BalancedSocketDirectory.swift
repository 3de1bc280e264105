import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The socket nodes of a cluster: tells each client to connect to one of them, by policy and by what they have to do.
public final class BalancedSocketDirectory: SocketDirectory, Service {
    private struct Shared {
        var allocation: SocketAllocation
        var random: any RandomNumberGenerator & Sendable
    }

    private let registry: any NodeRegistry
    private let shared: NIOLockedValueBox<Shared>

    /// - Parameter policy: with `consistent-hash` an account's devices are on one node, which saves hand-over between nodes.
    public init(
        registry: any NodeRegistry, policy: BalancingPolicy = .leastConnections,
        random: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.registry = registry
        shared = NIOLockedValueBox(Shared(allocation: SocketAllocation(policy: policy), random: random))
    }

    /// Follows the registry until shutdown.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            for await nodes in registry.nodes() { update(nodes) }
        }
    }

    /// For clients that ask from here on.
    public func choose(by policy: BalancingPolicy) { shared.withLockedValue { $0.allocation.choose(by: policy) } }

    /// - Parameter requestedHost: has no part in it: nodes register under the address that clients can reach.
    public func socketNode(for account: AccountID, requestedHost: String?, avoiding avoided: String?) async throws -> SocketNode {
        let node = shared.withLockedValue { $0.allocation.allocate(for: account, avoiding: avoided, at: .now, using: &$0.random) }
        guard let node, let url = node.socketURL else {
            throw ApusError(.overloaded, "no socket node takes connections now", retryAfterMilliseconds: 1000)
        }
        return SocketNode(url: url, tcp: node.tcp?.description, isTCPEncrypted: node.isTCPEncrypted)
    }

    func update(_ nodes: [NodeInfo]) { shared.withLockedValue { $0.allocation.update(nodes, at: .now) } }
}
