#if Cluster
import ApusCore
import ApusProtocol
import Collections

/// The routes of this node, and what Redis does not know of them yet. Without any I/O.
struct OwnRoutes {
    /// A change that Redis is to be told.
    enum Change: Hashable {
        case write(Route)
        case erase(Route)
    }

    private(set) var routes: [AccountID: Set<Route>] = [:]
    private(set) var count = 0
    /// Added or lost, not known to be in Redis.
    private var unwritten: OrderedSet<Route> = []
    /// Removed, not known to be gone from Redis.
    private var unerased: OrderedSet<Route> = []
    /// What is left of the present round of writing all of them again.
    private var round: Deque<Route> = []
    private let unerasedMax: Int

    /// - Parameter unerasedMax: routes that may wait to be erased; beyond that the oldest is left to expire.
    init(unerasedMax: Int = 100_000) { self.unerasedMax = unerasedMax }

    func contains(_ route: Route) -> Bool { routes[route.account]?.contains(route) ?? false }

    mutating func add(_ route: Route) {
        if routes[route.account, default: []].insert(route).inserted { count += 1 }
        unerased.remove(route)
        unwritten.append(route)
    }

    mutating func remove(_ route: Route) {
        if var rest = routes[route.account], rest.remove(route) != nil {
            count -= 1
            routes[route.account] = rest.isEmpty ? nil : rest
        }
        unwritten.remove(route)
        if unerased.count >= unerasedMax { unerased.removeFirst() }
        unerased.append(route)
    }

    /// Redis has done this. Changes of one route may cross on their way, so what was written and is removed by now is erased again,
    /// and the other way round.
    mutating func done(_ change: Change) {
        switch change {
        case .write(let route):
            if contains(route) { unwritten.remove(route) } else { unerased.append(route) }
        case .erase(let route):
            if contains(route) { unwritten.append(route) } else { unerased.remove(route) }
        }
    }

    /// Redis lost them, or some of them: all are to be written as soon as possible. What is to be erased may be there still.
    mutating func lost() {
        round = []
        for account in routes.values { unwritten.append(contentsOf: account) }
    }

    /// What Redis should have and may not, at most `limit`; it stays due until it is ``done(_:)``.
    func due(limit: Int) -> [Change] {
        let erasures = unerased.prefix(limit).map { Change.erase($0) }
        return erasures + unwritten.prefix(limit - erasures.count).map { Change.write($0) }
    }

    /// Begins to write all routes again, since what Redis has of them expires.
    mutating func beginRound() { round = Deque(routes.values.joined()) }

    /// The next of the round, at most `limit`.
    mutating func nextOfRound(limit: Int) -> [Change] {
        let next = round.prefix(limit)
        round.removeFirst(next.count)
        return next.filter(contains).map { .write($0) }
    }
}
#endif
