import ApusProtocol

/// How far this client is in one conversation. Turns entries and pages that arrive in any order, twice or not at all into a
/// sequence without hole or double. Pure: the client carries the actions out.
struct ConversationReader: Sendable, Equatable {
    enum Action: Sendable, Equatable {
        /// Everything visible in `after + 1 ... through`: store it, move the cursor, then emit it.
        case deliver(after: Seq, through: Seq, entries: [Entry])
        /// Read on from the cursor.
        case pull
        /// What lies before `first` is gone: drop the local entries. The cursor was at `previous`.
        case restart(first: Seq, previous: Seq)
    }

    /// Entries that wait behind a gap. Those past it are dropped, the pages that fill the gap bring them again.
    static let heldMax = 256

    /// Everything visible through here has been delivered.
    private(set) var cursor: Seq
    /// The last seq known to exist.
    private(set) var head: Seq
    private var held: [Seq: Entry] = [:]
    /// A pull has been asked for; `from` once it is on its way.
    private var pull = Pull.none

    private enum Pull: Equatable {
        case none
        case wanted
        case sent(from: Seq)
    }

    init(cursor: Seq, head: Seq = 0) {
        self.cursor = cursor
        self.head = max(cursor, head)
    }

    /// An entry came by itself, or an acknowledgement stands for it.
    mutating func received(_ entry: Entry) -> [Action] {
        head = max(head, entry.seq)
        guard entry.seq > cursor else { return [] }
        guard entry.seq == cursor + 1 else {
            if held.count < Self.heldMax { held[entry.seq] = entry }
            return pullIfBehind()
        }
        return deliver(through: entry.seq, [entry]) + pullIfBehind()
    }

    mutating func headMoved(to seq: Seq) -> [Action] {
        head = max(head, seq)
        return pullIfBehind()
    }

    /// Leaves out what lies before the last `count` entries; for a conversation that is new to this client.
    mutating func skip(toLast count: UInt64) -> [Action] {
        guard head > cursor, head - cursor > count else { return [] }
        return deliver(through: head - count, [])
    }

    /// The wanted pull is on its way. Returns where it starts; nil: it is no longer needed.
    mutating func startPull() -> Seq? {
        guard pull == .wanted else { return nil }
        guard head > cursor else {
            pull = .none
            return nil
        }
        pull = .sent(from: cursor + 1)
        return cursor + 1
    }

    /// The answer to the pull: `entries` are what this account may see of everything up to `through`.
    mutating func received(entries: [Entry], through: Seq, head pageHead: Seq) -> [Action] {
        guard case .sent(let from) = pull else { return [] }
        pull = .none
        head = max(head, pageHead)
        guard through > cursor else {
            // Live entries may have overtaken the page. If not, nothing more is visible now: asking again would go on for ever.
            if cursor + 1 == from { head = cursor }
            return pullIfBehind()
        }
        var next = cursor
        var fresh: [Entry] = []
        for entry in entries where entry.seq > next && entry.seq <= through {
            fresh.append(entry)
            next = entry.seq
        }
        return deliver(through: through, fresh) + pullIfBehind()
    }

    /// The server no longer has what was asked for.
    mutating func reset(first: Seq, head newHead: Seq) -> [Action] {
        let asked = pull
        pull = .none
        held = [:]
        let previous = cursor
        cursor = max(first, 1) - 1
        head = max(cursor, newHead)
        if asked == .sent(from: cursor + 1) {
            // The server points to where this client stands already: asking again would go on for ever.
            head = cursor
            return []
        }
        return [.restart(first: cursor + 1, previous: previous)] + pullIfBehind()
    }

    /// The pull was refused. For good: there is nothing to read until the head moves again.
    mutating func pullRefused(forGood: Bool) {
        pull = .none
        if forGood { head = cursor }
    }

    /// What was asked for will not be answered. The next connection starts with ``resume()``.
    mutating func disconnected() {
        pull = .none
        held = [:]
    }

    mutating func resume() -> [Action] { pullIfBehind() }

    /// The store failed to take what was delivered: as if it had never come.
    mutating func rewind(to seq: Seq) {
        disconnected()
        cursor = seq
    }

    private mutating func deliver(through: Seq, _ entries: [Entry]) -> [Action] {
        let after = cursor
        var entries = entries
        cursor = through
        while let next = held.removeValue(forKey: cursor + 1) {
            entries.append(next)
            cursor = next.seq
        }
        if !held.isEmpty { held = held.filter { $0.key > cursor } }
        head = max(head, cursor)
        return [.deliver(after: after, through: cursor, entries: entries)]
    }

    private mutating func pullIfBehind() -> [Action] {
        guard pull == .none, head > cursor else { return [] }
        pull = .wanted
        return [.pull]
    }
}
