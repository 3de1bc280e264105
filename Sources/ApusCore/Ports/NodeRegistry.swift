import ApusProtocol

/// Which nodes there are. A node that stops renewing itself (it was killed, paused or cut off) is gone after some seconds.
public protocol NodeRegistry: Sendable {
    /// Registers this node, or brings what is registered of it up to date (its load, its weight). It stays registered, and is
    /// registered again after the registry has lost it, until ``deregister()`` or the end of the process.
    /// - Throws: ``ApusError`` `unavailable` when the registry cannot be reached now.
    func register(_ node: NodeInfo) async throws
    /// Takes this node out: nobody is sent to it from here on. Nothing when it is not registered.
    func deregister() async throws
    /// The live nodes: first as they are, then anew after each change. While the registry cannot be reached the last known
    /// nodes stand. Any number of watchers; ends when the watching task is cancelled.
    func nodes() -> AsyncStream<[NodeInfo]>
}
