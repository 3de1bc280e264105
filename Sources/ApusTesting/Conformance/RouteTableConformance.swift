import ApusCore
import ApusProtocol

/// The promises of ``RouteTable``.
public enum RouteTableConformance {
    public static let cases: [ConformanceCase<any RouteTable>] = [
        .init("routes of an account come and go", routes),
        .init("an account is online while it has a route; pages are ascending", online),
    ]

    private static func route(_ session: UInt64, of account: UInt64) -> Route {
        Route(session: SessionID(session), account: AccountID(account), device: DeviceID(session + 100), node: NodeID(number: 1, epoch: 1))
    }

    private static func routes(_ table: any RouteTable) async throws {
        try await table.add(route(1, of: 1))
        try await table.add(route(2, of: 1))
        try await table.add(route(2, of: 1))
        try await table.add(route(3, of: 2))
        try expectEqual(Set(try await table.routes(of: AccountID(1))), [route(1, of: 1), route(2, of: 1)], "routes")
        try await table.remove(route(1, of: 1))
        try await table.remove(route(9, of: 1))
        try expectEqual(try await table.routes(of: AccountID(1)), [route(2, of: 1)], "routes after one went")
        try expectEqual(try await table.routes(of: AccountID(3)), [], "routes of nobody")
    }

    private static func online(_ table: any RouteTable) async throws {
        for account in [5, 3, 1, 4, 2] as [UInt64] {
            try await table.add(route(account, of: account))
            try await table.add(route(account + 10, of: account))
        }
        try await table.remove(route(3, of: 3))
        try await table.remove(route(4, of: 4))
        try await table.remove(route(14, of: 4))
        try expectEqual(try await table.onlineCount(), 4, "accounts online")
        let first = try await table.onlineAccounts(after: nil, limit: 2)
        try expectEqual(first, ids(1, 2), "the first page")
        try expectEqual(try await table.onlineAccounts(after: first.last, limit: 9), ids(3, 5), "the second page")
    }
}
