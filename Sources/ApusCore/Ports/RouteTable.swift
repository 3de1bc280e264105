import ApusProtocol

/// Where a session is connected.
public struct Route: Sendable, Hashable {
    public var session: SessionID
    public var account: AccountID
    public var device: DeviceID
    public var node: NodeID

    public init(session: SessionID, account: AccountID, device: DeviceID, node: NodeID) {
        self.session = session
        self.account = account
        self.device = device
        self.node = node
    }
}

/// Who is connected. Not durable: a node's routes die with it. A table that nodes share may show a change of one node to the others
/// some seconds late when what it is kept in was away or came back empty; to the node itself its own routes are always right.
public protocol RouteTable: Sendable {
    func add(_ route: Route) async throws
    func remove(_ route: Route) async throws
    /// Routes of lives of nodes that are over are not among them. At most 1,000 accounts, one round trip; accounts without a route are
    /// left out.
    func routes(of accounts: [AccountID]) async throws -> [AccountID: [Route]]
    func onlineCount() async throws -> Int
    /// Some of the accounts that are online, ascending by id, beginning after `after`; at most `limit`.
    func onlineAccounts(after: AccountID?, limit: Int) async throws -> [AccountID]
}

extension RouteTable {
    public func routes(of account: AccountID) async throws -> [Route] { try await routes(of: [account])[account] ?? [] }
}

/// Closes sessions wherever they are connected.
public protocol SessionControl: Sendable {
    /// Closes the sessions of these devices with this code; those that are not connected are none of its business.
    func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws
}
