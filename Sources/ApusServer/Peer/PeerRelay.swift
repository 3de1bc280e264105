import ApusCore
import Logging
import NIOConcurrencyHelpers
import NIOCore
import ServiceLifecycle

/// The relay over direct links: keeps one to every other socket node that is registered.
///
/// A node that leaves the registry (it drains, or it lost the registry) is sent to as long as its connection lasts; a new life
/// of the same number ends the link to the old one.
public final class PeerRelay: Relay, Service {
    private let configuration: PeerConfiguration
    private let node: NodeID
    private let registry: any NodeRegistry
    private let tokens: any PeerTokenSource
    private let group: any EventLoopGroup
    private let logger: Logger
    private let losses = LossCounter()
    private let links = NIOLockedValueBox<[NodeID: PeerLink]>([:])

    /// - Parameter node: this one.
    public init(
        configuration: PeerConfiguration, node: NodeID, registry: any NodeRegistry, tokens: any PeerTokenSource,
        group: any EventLoopGroup, logger: Logger
    ) {
        self.configuration = configuration
        self.node = node
        self.registry = registry
        self.tokens = tokens
        self.group = group
        self.logger = logger
    }

    /// Messages that were given up: no room, or no connection.
    public var lossCount: Int { losses.count }

    /// Nodes with an open link.
    public var openPeers: Set<NodeID> { Set(links.withLockedValue { $0.values.filter(\.isOpen).map(\.peer) }) }

    public func send(_ batch: [RelayMessage], to node: NodeID) { links.withLockedValue { $0[node] }?.send(batch) }

    public func sendToAll(_ batch: [RelayMessage]) { for link in all { link.send(batch) } }

    private var all: [PeerLink] { links.withLockedValue { Array($0.values) } }

    func link(to node: NodeID) -> PeerLink? { links.withLockedValue { $0[node] } }

    /// Follows the registry until shutdown, and then sends what still waits, for a second.
    public func run() async throws {
        await withDiscardingTaskGroup { tasks in
            for await nodes in registry.nodes().cancelOnGracefulShutdown() {
                for link in follow(nodes) {
                    tasks.addTask {
                        await link.run()
                        self.remove(link)
                    }
                }
            }
            for link in all { link.retire() }
            await flush(atMost: .seconds(1))
            tasks.cancelAll()
        }
    }

    /// Brings the links up to date.
    /// - Returns: the new ones.
    private func follow(_ nodes: [NodeInfo]) -> [PeerLink] {
        var addresses: [NodeID: NetworkAddress] = [:]
        for info in nodes where info.id != node && info.roles.contains(.socket) { addresses[info.id] = info.peer }
        let successors = Dictionary(nodes.map { ($0.id.number, $0.id.epoch) }, uniquingKeysWith: max)
        return links.withLockedValue { links in
            for (id, link) in links where addresses[id] == nil {
                if let epoch = successors[id.number], epoch > id.epoch { link.end() } else { link.retire() }
            }
            var added: [PeerLink] = []
            for (id, address) in addresses {
                if let link = links[id], link.revive() { continue }
                let link = PeerLink(
                    to: id, at: address, from: node, configuration: configuration, tokens: tokens, eventLoop: group.next(),
                    losses: losses, logger: logger)
                links[id] = link
                added.append(link)
            }
            return added
        }
    }

    private func remove(_ link: PeerLink) {
        links.withLockedValue { links in
            if links[link.peer] === link { links[link.peer] = nil }
        }
    }

    /// There is no event for the last acknowledgement on several links; they are asked every 10 ms.
    private func flush(atMost limit: Duration) async {
        let deadline = ContinuousClock.now + limit
        while !Task.isCancelled, all.contains(where: { !$0.isFlushed }), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }
}
