/// The live nodes as a registry knows them, for any number of watchers. Shared by the implementations of ``NodeRegistry``.
public final class NodeList: Sendable {
    private let latest = LatestValue<[NodeInfo]>()

    public init() {}

    /// Tells every watcher, unless nothing changed.
    public func update(_ registered: some Sequence<NodeInfo>) { latest.update(Self.current(registered)) }

    /// As ``NodeRegistry/nodes()`` promises.
    public func watch() -> AsyncStream<[NodeInfo]> { latest.watch() }

    /// One life of each number, the newest: of a node that was killed and came back the registry may know the dead life for some
    /// more seconds. In the order of the numbers.
    static func current(_ registered: some Sequence<NodeInfo>) -> [NodeInfo] {
        var newest: [UInt16: NodeInfo] = [:]
        for node in registered where newest[node.id.number].map({ $0.id.epoch <= node.id.epoch }) ?? true {
            newest[node.id.number] = node
        }
        return newest.values.sorted { $0.id.number < $1.id.number }
    }
}
