#if Cluster
import ApusCore

/// What an error reply asks the client to do.
enum RedisRedirect: Equatable {
    /// The slot lives there from now on.
    case moved(slot: Int, NetworkAddress)
    /// This once, ask there: the slot is on its way.
    case ask(NetworkAddress)
    /// Send the script itself.
    case sendSource
    /// The same again in a moment: the cluster is being repaired, or Redis is loading.
    case tryAgain

    /// Nil: the error is the answer.
    /// - Parameter asked: the node that answered, which may leave its own host out.
    init?(error: String, asked: NetworkAddress) {
        let words = error.split(separator: " ")
        switch words.first {
        case "MOVED":
            guard words.count >= 3, let slot = Int(words[1]), (0..<RedisHashSlot.count).contains(slot),
                let address = Self.address(words[2], asked)
            else { return nil }
            self = .moved(slot: slot, address)
        case "ASK":
            guard words.count >= 3, let address = Self.address(words[2], asked) else { return nil }
            self = .ask(address)
        case "NOSCRIPT": self = .sendSource
        case "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN": self = .tryAgain
        default: return nil
        }
    }

    /// `host:port`; an IPv6 address comes without brackets.
    private static func address(_ text: Substring, _ asked: NetworkAddress) -> NetworkAddress? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else { return nil }
        let host = text[..<colon]
        return NetworkAddress(host: host.isEmpty ? asked.host : String(host), port: Int(port))
    }
}
#endif
