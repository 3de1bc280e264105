import ApusProtocol
import Logging

/// Closes sessions on whatever node they are connected.
public struct ClusterSessionControl: SessionControl {
    private let local: (any SessionControl)?
    private let routes: any RouteTable
    private let relay: any Relay
    private let node: NodeID
    private let logger: Logger

    /// - Parameter local: the sessions of this node; nil: it holds none.
    public init(local: (any SessionControl)?, routes: any RouteTable, relay: any Relay, node: NodeID, logger: Logger) {
        self.local = local
        self.routes = routes
        self.relay = relay
        self.node = node
        self.logger = logger
    }

    /// Does not wait for the other nodes, and does not fail because of them: the devices are revoked already.
    public func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws {
        guard !devices.isEmpty else { return }
        try await local?.closeSessions(of: devices, account: account, code: code)
        let order = RelayMessage.close(devices, account: account, code: code)
        let nodes: Set<NodeID>
        do {
            nodes = Set(try await routes.routes(of: account).map(\.node))
        } catch {
            logger.warning("routes cannot be read; all nodes are told to close", metadata: ["account": "\(account)", "error": "\(error)"])
            return relay.sendToAll([order])
        }
        for node in nodes where node != self.node { relay.send([order], to: node) }
    }
}
