import NIOConcurrencyHelpers

/// What the nodes of one process register with; they see each other when they share one.
public final class MemoryNodeDirectory: Sendable {
    fileprivate let list = NodeList()
    private let registered = NIOLockedValueBox<[NodeID: NodeInfo]>([:])

    public init() { list.update([]) }

    fileprivate func change(_ body: (inout [NodeID: NodeInfo]) -> Void) {
        registered.withLockedValue { registered in
            body(&registered)
            list.update(registered.values)
        }
    }
}

/// The registry of nodes in one process: one for each node, all on the same directory.
public final class MemoryNodeRegistry: NodeRegistry {
    private let directory: MemoryNodeDirectory
    private let own = NIOLockedValueBox<NodeID?>(nil)

    public init(directory: MemoryNodeDirectory = MemoryNodeDirectory()) { self.directory = directory }

    public func register(_ node: NodeInfo) async throws {
        let previous = own.withLockedValue { own in
            defer { own = node.id }
            return own
        }
        directory.change { registered in
            if let previous { registered[previous] = nil }
            registered[node.id] = node
        }
    }

    public func deregister() async throws {
        let previous = own.withLockedValue { own in
            defer { own = nil }
            return own
        }
        guard let previous else { return }
        directory.change { $0[previous] = nil }
    }

    public func nodes() -> AsyncStream<[NodeInfo]> { directory.list.watch() }
}
