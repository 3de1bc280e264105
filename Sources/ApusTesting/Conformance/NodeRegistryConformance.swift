import ApusCore

/// Three registries of three nodes that share one directory of nodes.
public struct NodeRegistryTrio: Sendable {
    public var first: any NodeRegistry
    public var second: any NodeRegistry
    public var third: any NodeRegistry

    public init(_ first: any NodeRegistry, _ second: any NodeRegistry, _ third: any NodeRegistry) {
        self.first = first
        self.second = second
        self.third = third
    }
}

/// The promises of ``NodeRegistry``.
public enum NodeRegistryConformance {
    public static let cases: [ConformanceCase<NodeRegistryTrio>] = [
        .init("a node that registers is seen by everyone with all that it says of itself", registration),
        .init("registering again brings the load and the weight up to date", update),
        .init("a node that deregisters is gone, the others stay; doing it twice is nothing", deregistration),
        .init("whoever starts to watch later gets the nodes as they are; a slow watcher gets the last state", lateWatcher),
        .init("of two lives of one number the newer one counts, whichever was registered last", newestLife),
        .init("a node that gets another number leaves no trace of the first one", otherNumber),
        .init("watching ends when the task is cancelled, and others watch on", cancellation),
    ]

    private static func node(_ number: UInt16, epoch: UInt64 = 1, load: Int = 0, weight: Int = 100) -> NodeInfo {
        NodeInfo(
            id: NodeID(number: number, epoch: epoch), roles: [.socket, .web],
            http: NetworkAddress(host: "127.0.0.1", port: 10_000 + Int(number) * 10 + Int(epoch)),
            socketURL: "wss://chat.example/\(number)?a=b&c=%20+ü", tcp: NetworkAddress(host: "::1", port: 7),
            isTCPEncrypted: true, peer: NetworkAddress(host: "node.example", port: 65_535), load: load, weight: weight,
            version: "1.2.3-\"x\"")
    }

    private static func registration(_ trio: NodeRegistryTrio) async throws {
        var bare = NodeInfo(id: NodeID(number: 1_023, epoch: .max), roles: Set(Role.allCases), version: "")
        bare.gateway = NetworkAddress(host: "127.0.0.1", port: 1)
        try await trio.first.register(node(1))
        try await trio.second.register(bare)
        let expected = [node(1), bare]
        for registry in [trio.first, trio.second, trio.third] {
            try await waitForNodes(registry, "both nodes, ascending") { $0 == expected }
        }
    }

    private static func update(_ trio: NodeRegistryTrio) async throws {
        try await trio.first.register(node(1))
        try await trio.second.register(node(2))
        try await waitForNodes(trio.third, "two nodes") { $0 == [node(1), node(2)] }
        try await trio.first.register(node(1, load: 500))
        try await waitForNodes(trio.third, "the new load") { $0 == [node(1, load: 500), node(2)] }
        for load in 1...20 { try await trio.first.register(node(1, load: load, weight: 0)) }
        try await waitForNodes(trio.second, "the last of many loads") { $0 == [node(1, load: 20, weight: 0), node(2)] }
    }

    private static func deregistration(_ trio: NodeRegistryTrio) async throws {
        try await trio.first.deregister()
        try await trio.first.register(node(1))
        try await trio.second.register(node(2))
        try await waitForNodes(trio.third, "two nodes") { $0.count == 2 }
        try await trio.first.deregister()
        try await trio.first.deregister()
        try await waitForNodes(trio.third, "the one that stayed") { $0 == [node(2)] }
        try await trio.first.register(node(1, epoch: 2))
        try await waitForNodes(trio.third, "the one that came back") { $0 == [node(1, epoch: 2), node(2)] }
    }

    private static func lateWatcher(_ trio: NodeRegistryTrio) async throws {
        let early = trio.third.nodes()
        for load in 0...5 { try await trio.first.register(node(1, load: load)) }
        try await waitForNodes(trio.third, "the last load") { $0 == [node(1, load: 5)] }
        // The early one has not looked so far.
        var iterator = early.makeAsyncIterator()
        try expectEqual(await iterator.next(), [node(1, load: 5)], "what a slow watcher gets first")
        var late = trio.third.nodes().makeAsyncIterator()
        try expectEqual(await late.next(), [node(1, load: 5)], "what a late watcher gets first")
    }

    private static func newestLife(_ trio: NodeRegistryTrio) async throws {
        try await trio.first.register(node(1, epoch: 2))
        try await trio.second.register(node(1, epoch: 1))
        try await trio.third.register(node(2))
        try await waitForNodes(trio.third, "the newer life") { $0 == [node(1, epoch: 2), node(2)] }
        try await trio.first.deregister()
        try await waitForNodes(trio.third, "the life that is left") { $0 == [node(1, epoch: 1), node(2)] }
    }

    private static func otherNumber(_ trio: NodeRegistryTrio) async throws {
        try await trio.first.register(node(1))
        try await waitForNodes(trio.second, "the first number") { $0 == [node(1)] }
        try await trio.first.register(node(7))
        try await waitForNodes(trio.second, "the other number only") { $0 == [node(7)] }
    }

    private static func cancellation(_ trio: NodeRegistryTrio) async throws {
        let registry = trio.second
        try await trio.first.register(node(1))
        try await waitForNodes(registry, "one node") { $0 == [node(1)] }
        let ended = await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in registry.nodes() {}
                return true
            }
            group.cancelAll()
            return await group.next() ?? false
        }
        try expect(ended, "a cancelled watcher did not end")
        try await trio.first.register(node(1, load: 1))
        try await waitForNodes(registry, "the new load") { $0 == [node(1, load: 1)] }
    }
}

/// Waits until a registry says that the nodes are so.
public func waitForNodes(
    _ registry: any NodeRegistry, within timeout: Duration = .seconds(30), _ what: String, file: StaticString = #fileID, line: UInt = #line,
    _ isMet: @escaping @Sendable ([NodeInfo]) -> Bool
) async throws {
    enum Outcome { case met, missed([NodeInfo]), timedOut }
    let outcome = await withTaskGroup(of: Outcome.self) { group in
        group.addTask {
            var last: [NodeInfo] = []
            for await nodes in registry.nodes() {
                if isMet(nodes) { return .met }
                last = nodes
            }
            return .missed(last)
        }
        group.addTask {
            // Ends early when it is cancelled.
            try? await Task.sleep(for: timeout)
            return .timedOut
        }
        // Whichever is first ends the other one; the watcher's result is the one that counts.
        var outcome = Outcome.timedOut
        for await result in group {
            group.cancelAll()
            if case .timedOut = result { continue }
            outcome = result
        }
        return outcome
    }
    if case .missed(let last) = outcome { throw ConformanceFailure("\(what): the last list was \(last)", file, line) }
}
