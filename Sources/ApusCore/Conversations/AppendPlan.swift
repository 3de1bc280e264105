import ApusProtocol

/// What names an entry for ever.
public struct EntryName: Hashable, Sendable {
    public var conversation: ConversationID
    public var sender: AccountID
    public var clientID: String

    public init(conversation: ConversationID, sender: AccountID, clientID: String) {
        self.conversation = conversation
        self.sender = sender
        self.clientID = clientID
    }
}

extension NewEntry {
    public var name: EntryName { EntryName(conversation: conversation, sender: sender, clientID: clientID) }
}

/// What is stored already, as a plan asks for it.
public protocol AppendSource {
    /// Nil when there is no such conversation.
    func state(of conversation: ConversationID) throws -> ConversationState?
    func entry(named name: EntryName) throws -> Entry?
}

public struct PlannedEntry: Sendable {
    public var entry: NewEntry
    public var seq: Seq
    public var effects: [ConversationEffect]
}

/// What a batch of new entries comes to: decided in one place for all stores, before anything is written.
public struct AppendPlan: Sendable {
    /// One for each entry of the batch, in its order; they hold once `entries` are committed.
    public private(set) var outcomes: [AppendOutcome] = []
    /// What is to be written, in this order.
    public private(set) var entries: [PlannedEntry] = []
    /// The conversations of `entries` as they are afterwards.
    public private(set) var states: [ConversationID: ConversationState] = [:]

    private var planned: [EntryName: Int] = [:]
    private let membersMax: Int

    /// - Parameter membersMax: a group never has more members than this.
    public init(_ batch: [NewEntry], membersMax: Int, source: some AppendSource) throws {
        self.membersMax = membersMax
        outcomes.reserveCapacity(batch.count)
        entries.reserveCapacity(batch.count)
        for entry in batch { outcomes.append(try plan(entry, source)) }
    }

    private mutating func plan(_ entry: NewEntry, _ source: some AppendSource) throws -> AppendOutcome {
        let state = try states[entry.conversation] ?? source.state(of: entry.conversation)
        if let state, let first = try firstEntry(named: entry.name, state, source) {
            guard first.kind == entry.kind, first.body == entry.body else { return .refused(.conflict) }
            return .duplicate(first, audience: state.roster.audience)
        }
        do {
            return accept(entry, try next(entry, state))
        } catch {
            return .refused(error)
        }
    }

    private func next(
        _ entry: NewEntry, _ state: ConversationState?
    ) throws(AppendRefusal) -> (ConversationState, ConversationState.Step) {
        if var state {
            let step = try state.apply(entry, membersMax: membersMax)
            return (state, step)
        }
        guard case .create(let title, let members) = entry.change else { throw .notMember }
        return try ConversationState.creating(with: entry, title: title, members: members, membersMax: membersMax)
    }

    private func firstEntry(named name: EntryName, _ state: ConversationState, _ source: some AppendSource) throws -> Entry? {
        if let index = planned[name] { return entries[index].entry.entry(seq: entries[index].seq) }
        return state.head == 0 ? nil : try source.entry(named: name)
    }

    private mutating func accept(_ entry: NewEntry, _ next: (state: ConversationState, step: ConversationState.Step)) -> AppendOutcome {
        let (state, step) = next
        states[entry.conversation] = state
        planned[entry.name] = entries.count
        entries.append(PlannedEntry(entry: entry, seq: step.seq, effects: step.effects))
        return .appended(seq: step.seq, audience: step.audience)
    }
}
