import ApusProtocol

/// Where a session is held: the node's event loop by number, and the session on it.
public struct SessionAddress: Sendable, Hashable {
    public var loop: Int
    public var session: SessionID

    public init(loop: Int, session: SessionID) {
        self.loop = loop
        self.session = session
    }
}

/// What became of one append, on its way to those who wait for it.
public struct AppendResult: Sendable {
    public enum Outcome: Sendable {
        /// Durable. `isDuplicate`: it had been before; it is handed over again, so that a retry heals a hand-over that died
        /// with its node.
        case committed(Entry, audience: Audience, isDuplicate: Bool)
        case refused(ApusError)
    }

    public var conversation: ConversationID
    public var clientID: String
    /// The session that sent it, and its ref; nil when the entry did not come over a socket.
    public var origin: (address: SessionAddress, ref: UInt32)?
    public var outcome: Outcome
}

/// What is worth telling connected readers now and not worth storing for them.
public enum Signal: Sendable {
    case mark(Mark)
    case typing(ConversationID, AccountID)
}

/// Gives what was committed to connected readers. A hint: whatever it loses, the head sweep and the readers' pulls repair.
public protocol Handover: Sendable {
    /// Called after each commit, in the order of the log; one call at a time. Must not block.
    func handOver(_ batch: [AppendResult])
    /// Tells the audience's sessions, but not those of `except`.
    func signal(_ signal: Signal, to audience: Audience, except: SessionID?)
    /// The head sweep found these heads: sessions of the audience that are behind are to be repaired.
    func repair(_ head: ConversationHead, audience: Audience)
}
