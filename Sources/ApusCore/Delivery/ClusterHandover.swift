import ApusProtocol
import Logging
import ServiceLifecycle

/// Hands over to the readers of all nodes: to those here at once, to those elsewhere off that path, by their routes.
///
/// One task works on what waits: it looks up the routes of all accounts concerned in one round trip and sends one batch to each
/// node. Under load more waits and the round trips become fewer. What is lost on the way (a full queue, routes that cannot be
/// read, a relay that fails) is repaired by the head sweep of the nodes that missed it.
///
/// Order: what is committed to one conversation through this node is relayed in the order of the log.
public final class ClusterHandover: Handover, Service {
    public struct Limits: Sendable {
        /// Larger audiences are not looked up: every socket node gets a copy and knows its readers itself. At most 1,000.
        public var lookupMembersMax: Int
        /// About as many bytes may wait for the task.
        public var queueBytesMax: Int

        public init(lookupMembersMax: Int = 256, queueBytesMax: Int = 64 << 20) {
            self.lookupMembersMax = min(lookupMembersMax, RelayPlan.accountsMax)
            self.queueBytesMax = queueBytesMax
        }
    }

    private let local: any Handover
    private let routes: any RouteTable
    private let relay: any Relay
    private let node: NodeID
    private let limits: Limits
    private let queue: WorkQueue<RelayPlan.Item>
    private let losses: LossLog

    /// - Parameters:
    ///   - local: the sessions of this node; those who hold none hand over with ``NoSessions``.
    ///   - node: this one.
    public init(
        local: any Handover, routes: any RouteTable, relay: any Relay, node: NodeID, limits: Limits = Limits(), clock: any WallClock,
        logger: Logger
    ) {
        self.local = local
        self.routes = routes
        self.relay = relay
        self.node = node
        self.limits = limits
        queue = WorkQueue(costMax: limits.queueBytesMax)
        losses = LossLog("hand-overs to other nodes were", clock: clock, logger: logger)
    }

    /// Hand-overs that did not reach the relay.
    public var lossCount: Int { losses.count }

    public func handOver(_ batch: [AppendResult]) {
        local.handOver(batch)
        enqueue(
            batch.compactMap { result in
                guard case .committed(let entry, let audience, let isDuplicate) = result.outcome else { return nil }
                return RelayPlan.Item(.entry(entry, isDuplicate: isDuplicate), audience: audience)
            })
    }

    public func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {
        local.signal(signal, to: audience, except: except)
        enqueue([RelayPlan.Item(.signal(signal), audience: audience)])
    }

    /// Each node sweeps for its own sessions.
    public func repair(_ head: ConversationHead, audience: Audience) { local.repair(head, audience: audience) }

    private func enqueue(_ items: [RelayPlan.Item]) {
        guard !items.isEmpty else { return }
        losses.lost(queue.add(items, cost: \.cost), "too many wait")
    }

    /// Relays until shutdown, and then what still waits.
    public func run() async throws {
        await withGracefulShutdownHandler {
            while let items = await queue.next() { await relay(items) }
        } onGracefulShutdown: {
            self.queue.finish()
        }
    }

    func relay(_ items: [RelayPlan.Item]) async {
        for part in RelayPlan.parts(of: items, lookupMembersMax: limits.lookupMembersMax) {
            let found: [AccountID: [Route]]
            do {
                found = part.accounts.isEmpty ? [:] : try await routes.routes(of: Array(part.accounts))
            } catch {
                losses.lost(part.items.count, "the routes cannot be read: \(error)")
                continue
            }
            for send in RelayPlan.sends(of: part, by: found, from: node) {
                switch send {
                case .node(let node, let messages): relay.send(messages, to: node)
                case .all(let messages): relay.sendToAll(messages)
                }
            }
        }
    }
}

/// The hand-over of a node that holds no sessions.
public struct NoSessions: Handover {
    public init() {}
    public func handOver(_ batch: [AppendResult]) {}
    public func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {}
    public func repair(_ head: ConversationHead, audience: Audience) {}
}
