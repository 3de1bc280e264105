import ApusProtocol
import NIOCore

/// The readers of all conversations, and who of them pulls next. Few pulls run at one time and each brings one page, so a long
/// backlog of one conversation holds up neither the others nor what arrives live.
struct Inbox: Sendable {
    enum Action: Sendable, Equatable {
        case deliver(ConversationID, after: Seq, through: Seq, entries: [Entry])
        case restart(ConversationID, first: Seq, previous: Seq)
        case pull(ConversationID, from: Seq)
    }

    static let pullsMax = 4

    private let backfill: ClientConfiguration.Backfill
    private var readers: [ConversationID: ConversationReader]
    private var waiting: CircularBuffer<ConversationID> = []
    private var pullsRunning = 0

    init(readers: [ConversationID: ConversationReader], backfill: ClientConfiguration.Backfill) {
        self.readers = readers
        self.backfill = backfill
    }

    func cursor(of conversation: ConversationID) -> Seq { readers[conversation]?.cursor ?? 0 }

    mutating func received(_ entry: Entry) -> [Action] {
        update(entry.conversation) { $0.received(entry) }
    }

    mutating func headMoved(_ conversation: ConversationID, to seq: Seq) -> [Action] {
        let isNew = readers[conversation] == nil
        return update(conversation) { [backfill] reader in
            let pull = reader.headMoved(to: seq)
            guard isNew, case .last(let count) = backfill else { return pull }
            return reader.skip(toLast: count) + pull
        }
    }

    mutating func received(page entries: [Entry], of conversation: ConversationID, through: Seq, head: Seq) -> [Action] {
        pullsRunning -= 1
        return update(conversation) { $0.received(entries: entries, through: through, head: head) }
    }

    /// - Parameter answersPull: false when the server said it by itself.
    mutating func reset(_ conversation: ConversationID, first: Seq, head: Seq, answersPull: Bool) -> [Action] {
        if answersPull { pullsRunning -= 1 }
        return update(conversation) { $0.reset(first: first, head: head) }
    }

    mutating func pullRefused(_ conversation: ConversationID, forGood: Bool) -> [Action] {
        pullsRunning -= 1
        return update(conversation) { reader in
            reader.pullRefused(forGood: forGood)
            return []
        }
    }

    /// Reads on where a pull was refused for the time being.
    mutating func resume(_ conversation: ConversationID) -> [Action] {
        update(conversation) { $0.resume() }
    }

    /// Reads on in every conversation that is behind, on a new connection.
    mutating func connected() -> [Action] {
        disconnected()
        return readers.keys.sorted().flatMap { conversation in update(conversation) { $0.resume() } }
    }

    mutating func disconnected() {
        waiting.removeAll()
        pullsRunning = 0
        for conversation in readers.keys { readers[conversation]?.disconnected() }
    }

    /// The store failed to take what these actions deliver.
    mutating func undo(_ actions: [Action]) {
        for action in actions.reversed() {
            switch action {
            case .deliver(let conversation, let after, _, _): readers[conversation]?.rewind(to: after)
            case .restart(let conversation, _, let previous): readers[conversation]?.rewind(to: previous)
            case .pull: break
            }
        }
    }

    private mutating func update(
        _ conversation: ConversationID, _ body: (inout ConversationReader) -> [ConversationReader.Action]
    ) -> [Action] {
        var actions: [Action] = []
        for action in body(&readers[conversation, default: ConversationReader(cursor: 0)]) {
            switch action {
            case .deliver(let after, let through, let entries):
                actions.append(.deliver(conversation, after: after, through: through, entries: entries))
            case .restart(let first, let previous): actions.append(.restart(conversation, first: first, previous: previous))
            case .pull: waiting.append(conversation)
            }
        }
        while pullsRunning < Self.pullsMax, let next = waiting.popFirst() {
            guard let from = readers[next]?.startPull() else { continue }
            pullsRunning += 1
            actions.append(.pull(next, from: from))
        }
        return actions
    }
}
