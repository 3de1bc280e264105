import ApusProtocol

/// Who of the receiving node's sessions gets something.
public enum RelayReaders: Sendable, Hashable {
    case accounts([AccountID])
    /// All members of its conversation, as the roster stood after this seq: of a large conversation there is one copy for each node,
    /// and the node knows its readers itself.
    case members(rosterSeq: Seq)
}

/// What one node tells another: things that are stored already, or not worth storing. All of it may be lost.
public enum RelayMessage: Sendable {
    /// `isDuplicate`: it was handed over before, to be on the safe side it is handed over again.
    case entry(Entry, to: RelayReaders, isDuplicate: Bool)
    case signal(Signal, to: RelayReaders)
    /// Close the sessions of these devices.
    case close([DeviceID], account: AccountID, code: CloseCode)
}

/// Takes messages to other nodes. Never blocks and keeps nothing for long: what does not fit into its bounded queues is dropped, and the
/// head sweep of the receiving node repairs it.
public protocol Relay: Sendable {
    /// To one node; nothing when that life of it is over.
    func send(_ batch: [RelayMessage], to node: NodeID)
    /// To every other socket node.
    func sendToAll(_ batch: [RelayMessage])
}

/// The receiving end of a ``Relay``.
public protocol RelayReceiver: Sendable {
    /// Called in the order of the sending node's batches. Must not block.
    func receive(_ batch: [RelayMessage], from node: NodeID)
}
