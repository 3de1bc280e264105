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

/// Nodes with a route table each, which share what the tables are kept in.
public struct RouteTableNodes: Sendable {
    /// Starts a node.
    public var join: @Sendable (NodeID) async throws -> any RouteTable
    /// Ends a node without a word, as kill -9 does.
    public var kill: @Sendable (NodeID) async throws -> Void
    /// Empties what the tables share.
    public var flush: @Sendable () async throws -> Void

    public init(
        join: @escaping @Sendable (NodeID) async throws -> any RouteTable, kill: @escaping @Sendable (NodeID) async throws -> Void,
        flush: @escaping @Sendable () async throws -> Void
    ) {
        self.join = join
        self.kill = kill
        self.flush = flush
    }
}

extension RouteTableConformance {
    /// The promises that concern several nodes.
    public static let casesOfNodes: [ConformanceCase<RouteTableNodes>] = [
        .init("a route is seen by all nodes at once, and is gone at once", shared),
        .init("an account on two nodes is online once, and until it is on none", onlineOnce),
        .init("pages of many accounts are whole, ascending and without repetition", pages),
        .init("routes of a life that is over are gone, those of the next life of its number are not", over),
        .init("what was lost comes back, and what was removed does not", flushed),
    ]

    private static let (first, second) = (NodeID(number: 1, epoch: 1), NodeID(number: 2, epoch: 7))

    private static func route(_ session: UInt64, of account: UInt64, on node: NodeID) -> Route {
        Route(session: SessionID(session), account: AccountID(account), device: DeviceID(session + 100), node: node)
    }

    /// Asks until it is so; there is no event for what others find out by themselves.
    private static func eventually<Value: Equatable>(
        _ expected: Value, _ what: String, line: UInt = #line, _ actual: () async throws -> Value
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while true {
            let now = try await actual()
            if now == expected { return }
            guard ContinuousClock.now < deadline else { return try expectEqual(now, expected, what, line: line) }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private static func shared(_ nodes: RouteTableNodes) async throws {
        let (a, b) = (try await nodes.join(first), try await nodes.join(second))
        for session in 1...3 as ClosedRange<UInt64> {
            try await a.add(route(session, of: session, on: first))
            try await b.add(route(session + 10, of: session, on: second))
        }
        for table in [a, b] {
            let found = try await table.routes(of: ids(3, 1, 99))
            try expectEqual(Set(found.keys), Set(ids(1, 3)), "accounts with routes")
            try expectEqual(Set(found[AccountID(1)] ?? []), [route(1, of: 1, on: first), route(11, of: 1, on: second)], "routes")
        }
        try await a.remove(route(1, of: 1, on: first))
        try expectEqual(try await b.routes(of: AccountID(1)), [route(11, of: 1, on: second)], "after one went")
        try await b.remove(route(11, of: 1, on: second))
        try expectEqual(try await a.routes(of: AccountID(1)), [], "after both went")
    }

    private static func onlineOnce(_ nodes: RouteTableNodes) async throws {
        let (a, b) = (try await nodes.join(first), try await nodes.join(second))
        try await a.add(route(1, of: 1, on: first))
        try await b.add(route(2, of: 1, on: second))
        try await b.add(route(3, of: 2, on: second))
        for table in [a, b] {
            try expectEqual(try await table.onlineCount(), 2, "accounts online")
            try expectEqual(try await table.onlineAccounts(after: nil, limit: 10), ids(1, 2), "a page")
        }
        try await b.remove(route(2, of: 1, on: second))
        try expectEqual(try await b.onlineCount(), 2, "accounts online while it is on one node still")
        try await a.remove(route(1, of: 1, on: first))
        try expectEqual(try await b.onlineAccounts(after: nil, limit: 10), ids(2), "a page after it went")
    }

    private static func pages(_ nodes: RouteTableNodes) async throws {
        let (a, b) = (try await nodes.join(first), try await nodes.join(second))
        // Many of one remainder, so that no shard is like the other.
        let accounts = (1...400).map { UInt64($0) } + (1...300).map { UInt64($0) * 4096 }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for account in accounts {
                group.addTask {
                    let onFirst = account % 3 == 0
                    try await (onFirst ? a : b).add(route(account, of: account, on: onFirst ? first : second))
                }
            }
            try await group.waitForAll()
        }
        for limit in [7, 100, 1000] {
            var found: [AccountID] = []
            while true {
                let page = try await a.onlineAccounts(after: found.last, limit: limit)
                try expect(page.count <= limit, "a page of more than \(limit)")
                found += page
                if page.count < limit { break }
            }
            try expectEqual(found, accounts.map { AccountID($0) }, "all pages of \(limit)")
        }
        try expectEqual(try await b.onlineCount(), accounts.count, "accounts online")
    }

    private static func over(_ nodes: RouteTableNodes) async throws {
        let (a, b) = (try await nodes.join(first), try await nodes.join(second))
        for account in 1...5 as ClosedRange<UInt64> { try await b.add(route(account, of: account, on: second)) }
        try await a.add(route(11, of: 1, on: first))
        try await a.add(route(19, of: 9, on: first))
        try await nodes.kill(second)
        try await eventually([:], "routes of a life that is over") { try await a.routes(of: ids(2, 3, 4, 5)) }
        try expectEqual(try await a.routes(of: AccountID(1)), [route(11, of: 1, on: first)], "routes of an account with another one")
        try await eventually(2, "accounts online") { try await a.onlineCount() }
        try expectEqual(try await a.onlineAccounts(after: nil, limit: 10), ids(1, 9), "a page")

        let next = NodeID(number: second.number, epoch: second.epoch + 1)
        let c = try await nodes.join(next)
        try await c.add(route(22, of: 2, on: next))
        try expectEqual(try await a.routes(of: AccountID(2)), [route(22, of: 2, on: next)], "routes of the next life")
    }

    private static func flushed(_ nodes: RouteTableNodes) async throws {
        let (a, b) = (try await nodes.join(first), try await nodes.join(second))
        for account in 1...50 as ClosedRange<UInt64> {
            try await a.add(route(account, of: account, on: first))
            try await b.add(route(account + 100, of: account, on: second))
        }
        try await a.remove(route(1, of: 1, on: first))
        try await b.remove(route(101, of: 1, on: second))
        try await nodes.flush()
        // A node knows its own whatever happens.
        try expectEqual(try await a.routes(of: AccountID(2)).contains(route(2, of: 2, on: first)), true, "an own route")
        try await a.add(route(51, of: 51, on: first))
        for (table, other) in [(a, second), (b, first)] {
            try await eventually(49, "accounts with routes on \(other)") {
                let found = try await table.routes(of: (1...50).map { AccountID($0) })
                return found.values.filter { $0.contains { $0.node == other } }.count
            }
            try await eventually(50, "accounts online") { try await table.onlineCount() }
            try expectEqual(try await table.routes(of: AccountID(1)), [], "routes that had been removed")
        }
    }
}
