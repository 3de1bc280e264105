import ApusCore

/// Which nodes to believe in. Nacos has ephemeral instances in memory only: a server that was restarted, or another one that has not heard
/// of all, lists none, then some, until each has said again that it lives. A node that is registered and finds itself missing, in the list
/// or when it says that it lives, knows that, and holds on to those it knew for the time in which they are heard of.
struct NacosListMemory {
    /// The time in which every node that lives has been heard of again.
    let patience: Duration
    private var known: [NodeInfo] = []
    private var isOwnListed = false
    private var holdsOnUntil: ContinuousClock.Instant?

    init(patience: Duration) { self.patience = patience }

    /// Nacos does not know the node that asks any more.
    mutating func holdOn(from now: ContinuousClock.Instant) { holdsOnUntil = now + patience }

    /// - Parameter isOwnListed: whether the node that asks is in the list.
    /// - Returns: the nodes; those that are held on to come first.
    mutating func nodes(listed: [NodeInfo], isOwnListed: Bool, at now: ContinuousClock.Instant) -> [NodeInfo] {
        if self.isOwnListed, !isOwnListed { holdOn(from: now) }
        self.isOwnListed = isOwnListed
        if let end = holdsOnUntil, now < end {
            let found = Set(listed.map(\.id.number))
            known = known.filter { !found.contains($0.id.number) } + listed
        } else {
            holdsOnUntil = nil
            known = listed
        }
        return known
    }
}
