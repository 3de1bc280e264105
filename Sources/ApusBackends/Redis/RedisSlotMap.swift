#if Cluster
import ApusCore

/// Which node of a Redis Cluster has which hash slots.
struct RedisSlotMap: Sendable, Equatable {
    /// By slot; nil where no node has it.
    private var masters: [NetworkAddress?]

    init() { masters = Array(repeating: nil, count: RedisHashSlot.count) }

    /// From a reply to `CLUSTER SLOTS`.
    /// - Parameter asked: the node that answered, which may leave its own host out.
    /// - Returns: nil when it is no such reply.
    init?(_ reply: RESPValue, asked: NetworkAddress) {
        self.init()
        guard let ranges = reply.array else { return nil }
        for range in ranges {
            guard let parts = range.array, parts.count >= 3, let first = parts[0].integer, let last = parts[1].integer,
                0 <= first, first <= last, last < RedisHashSlot.count,
                let node = parts[2].array, node.count >= 2, let port = node[1].integer, (1...65_535).contains(port)
            else { return nil }
            let host = node[0].text ?? ""
            let address = NetworkAddress(host: host.isEmpty || host == "?" ? asked.host : host, port: Int(port))
            for slot in Int(first)...Int(last) { masters[slot] = address }
        }
    }

    subscript(slot: Int) -> NetworkAddress? {
        get { masters[slot] }
        set { masters[slot] = newValue }
    }

    /// Each node that has slots, with its first one.
    var firstSlots: [NetworkAddress: Int] {
        var found: [NetworkAddress: Int] = [:]
        for (slot, address) in masters.enumerated() {
            if let address, found[address] == nil { found[address] = slot }
        }
        return found
    }
}
#endif
