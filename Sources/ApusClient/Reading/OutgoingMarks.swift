import ApusProtocol

/// Marks on their way to the server. Both kinds only grow, so only the last of each conversation is of interest: they are
/// collected and sent together, marks of delivery at most once per interval. Pure.
struct OutgoingMarks: Sendable {
    /// Marks in one go; more wait for the next.
    static let batchMax = 100

    struct Mark: Sendable, Equatable {
        var read: Seq = 0
        var delivered: Seq = 0
    }

    private let deliveredInterval: Duration?
    private var pending: [ConversationID: Mark] = [:]
    /// Sent, and not known to have arrived: `ref` is the first one that was given out afterwards.
    private var unconfirmed: [ConversationID: (ref: UInt32, read: Seq)] = [:]
    private var flushAt: Duration?

    init(deliveredInterval: Duration?) { self.deliveredInterval = deliveredInterval }

    /// When ``take(_:)`` has something to send.
    var deadline: Duration? { pending.isEmpty ? nil : flushAt }

    /// The entries through `seq` are in the local store.
    mutating func delivered(_ conversation: ConversationID, through seq: Seq, _ now: Duration) {
        guard let deliveredInterval else { return }
        pending[conversation, default: Mark()].delivered = max(pending[conversation]?.delivered ?? 0, seq)
        if flushAt == nil { flushAt = now + deliveredInterval }
    }

    /// The user has read through `seq`: that goes out at once.
    mutating func read(_ conversation: ConversationID, through seq: Seq, _ now: Duration) {
        pending[conversation, default: Mark()].read = max(pending[conversation]?.read ?? 0, seq)
        flushAt = now
    }

    /// What to send now. `ref` is the next request's.
    mutating func take(_ now: Duration, ref: UInt32) -> [(ConversationID, Mark)] {
        guard let flushAt, flushAt <= now else { return [] }
        let batch = Array(pending.prefix(Self.batchMax))
        for (conversation, mark) in batch {
            pending[conversation] = nil
            if mark.read > 0 { unconfirmed[conversation] = (ref, mark.read) }
        }
        self.flushAt = pending.isEmpty ? nil : now + (deliveredInterval ?? .zero)
        return batch.map { ($0.key, $0.value) }
    }

    /// The server answered request `ref`. It handles frames in order, so what was sent before has arrived.
    /// Returns the read marks that the server has now.
    mutating func answered(_ ref: UInt32) -> [(ConversationID, Seq)] {
        let confirmed = unconfirmed.filter { $0.value.ref <= ref }
        for conversation in confirmed.keys { unconfirmed[conversation] = nil }
        return confirmed.map { ($0.key, $0.value.read) }
    }

    /// Read marks that may have been lost with the connection are sent again.
    mutating func disconnected(_ now: Duration) {
        let lost = unconfirmed
        unconfirmed = [:]
        for (conversation, mark) in lost { read(conversation, through: mark.read, now) }
    }
}
