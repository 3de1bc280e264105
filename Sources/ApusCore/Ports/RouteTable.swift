import ApusProtocol

/// Where a session is connected.
public struct Route: Sendable, Hashable {
    public var session: SessionID
    public var account: AccountID
    public var device: DeviceID

    public init(session: SessionID, account: AccountID, device: DeviceID) {
        self.session = session
        self.account = account
        self.device = device
    }
}

/// Who is connected. Not durable: a node's routes die with it.
public protocol RouteTable: Sendable {
    func add(_ route: Route) async throws
    func remove(_ route: Route) async throws
    func routes(of account: AccountID) async throws -> [Route]
    func onlineCount() async throws -> Int
    /// Some of the accounts that are online, ascending by id, beginning after `after`; at most `limit`.
    func onlineAccounts(after: AccountID?, limit: Int) async throws -> [AccountID]
}

/// Closes sessions wherever they are connected.
public protocol SessionControl: Sendable {
    /// Closes the sessions of these devices with this code; those that are not connected are none of its business.
    func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws
}
