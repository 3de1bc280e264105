import ApusProtocol

/// The number of a node, for some time.
public struct NodeLease: Sendable, Hashable {
    public var node: NodeID
    /// The holder ends before this unless it renews.
    public var expiresAt: Timestamp
    /// No id of this number above this one has been given out in an earlier life.
    public var idsThrough: UInt64

    public init(node: NodeID, expiresAt: Timestamp, idsThrough: UInt64) {
        self.node = node
        self.expiresAt = expiresAt
        self.idsThrough = idsThrough
    }
}

/// Leases node numbers, durable: two nodes that run at the same time never have the same, whatever a person configures.
public protocol NodeLeaseStore: Sendable {
    /// A number that nobody holds, the one that was free the longest; its epoch is one more than in its last life. Time is the
    /// store's own, so that clocks of nodes need not agree.
    /// - Throws: ``ApusError`` `overloaded` when all 1,024 are taken, `store_unavailable`.
    func acquire(for duration: Duration) async throws -> NodeLease
    /// Holds it for `duration` from now, and notes that no id above `idsThrough` is given out before the next renewal.
    /// - Throws: ``ApusError`` `conflict` when the lease ran out and is another's: the node must stop at once.
    func renew(_ lease: NodeLease, for duration: Duration, idsThrough: UInt64) async throws -> NodeLease
    /// Gives it back.
    func release(_ lease: NodeLease) async throws
}
