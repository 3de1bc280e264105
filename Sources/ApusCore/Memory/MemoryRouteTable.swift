import ApusProtocol
import NIOConcurrencyHelpers

/// The routes of a single node.
public final class MemoryRouteTable: RouteTable {
    private let routes = NIOLockedValueBox<[AccountID: Set<Route>]>([:])

    public init() {}

    public func add(_ route: Route) async throws {
        routes.withLockedValue { _ = $0[route.account, default: []].insert(route) }
    }

    public func remove(_ route: Route) async throws {
        routes.withLockedValue { routes in
            guard var rest = routes[route.account] else { return }
            rest.remove(route)
            routes[route.account] = rest.isEmpty ? nil : rest
        }
    }

    public func routes(of accounts: [AccountID]) async throws -> [AccountID: [Route]] {
        routes.withLockedValue { routes in
            var found: [AccountID: [Route]] = [:]
            for account in accounts { found[account] = routes[account].map(Array.init) }
            return found
        }
    }

    public func onlineCount() async throws -> Int { routes.withLockedValue(\.count) }

    public func onlineAccounts(after: AccountID?, limit: Int) async throws -> [AccountID] {
        routes.withLockedValue { routes in
            let accounts = routes.keys.filter { account in after.map { account > $0 } ?? true }
            return Array(accounts.sorted().prefix(max(0, limit)))
        }
    }
}
