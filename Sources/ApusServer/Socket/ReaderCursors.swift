import ApusProtocol

/// How far each conversation has been pushed to one session. What makes "each entry once and in order" true on a connection:
/// an entry out of turn is not pushed, its gap is read from the store first.
///
/// A session that has not been pushed anything of a conversation has no cursor there: what it knows came from its own sync
/// and pull, so the first push may be any seq; the client sees by its own cursor whether it must pull.
struct ReaderCursors {
    private struct Cursor {
        var pushed: Seq
        /// A gap is being read; entries up to here wait behind it. 0: no gap.
        var awaited: Seq = 0
    }

    enum Offer: Equatable {
        case push
        /// The session has it.
        case skip
        /// Read this range and push it, then call ``filled(_:through:)``.
        case fill(ClosedRange<Seq>)
    }

    private static let countMax = 1024
    private var cursors: [ConversationID: Cursor] = [:]

    func isKnown(_ conversation: ConversationID) -> Bool { cursors[conversation] != nil }

    /// An entry was committed.
    mutating func offer(_ conversation: ConversationID, _ seq: Seq) -> Offer {
        guard let cursor = cursors[conversation] else {
            makeRoom()
            cursors[conversation] = Cursor(pushed: seq)
            return .push
        }
        if seq <= cursor.pushed || seq <= cursor.awaited { return .skip }
        if cursor.awaited > 0 {
            cursors[conversation]?.awaited = seq
            return .skip
        }
        if seq == cursor.pushed + 1 {
            cursors[conversation]?.pushed = seq
            return .push
        }
        cursors[conversation]?.awaited = seq
        return .fill(cursor.pushed + 1...seq)
    }

    /// The log reaches to `head`, as the head sweep found: everything up to it that was not pushed is a gap.
    mutating func reach(_ conversation: ConversationID, _ head: Seq) -> ClosedRange<Seq>? {
        guard let cursor = cursors[conversation], cursor.awaited == 0, head > cursor.pushed else { return nil }
        cursors[conversation]?.awaited = head
        return cursor.pushed + 1...head
    }

    /// The gap has been pushed up to `through`. Returns what is still missing.
    mutating func filled(_ conversation: ConversationID, through: Seq) -> ClosedRange<Seq>? {
        guard var cursor = cursors[conversation] else { return nil }
        cursor.pushed = max(cursor.pushed, through)
        let rest = cursor.pushed < cursor.awaited ? cursor.pushed + 1...cursor.awaited : nil
        if rest == nil { cursor.awaited = 0 }
        cursors[conversation] = cursor
        return rest
    }

    /// The gap cannot be read; the client finds it by its own cursor.
    mutating func forget(_ conversation: ConversationID) { cursors[conversation] = nil }

    private mutating func makeRoom() {
        guard cursors.count >= Self.countMax, let idle = cursors.first(where: { $0.value.awaited == 0 }) else { return }
        cursors[idle.key] = nil
    }
}
