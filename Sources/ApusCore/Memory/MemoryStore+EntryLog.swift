import ApusProtocol

extension MemoryStore: EntryLog {
    public func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        try state.withLockedValue { state in
            let plan = try AppendPlan(batch, membersMax: membersMax, source: state)
            for planned in plan.entries { state.write(planned) }
            for (id, next) in plan.states { state.conversations[id]?.state = next }
            return plan.outcomes
        }
    }

    public func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
        state.withLockedValue { state in
            guard let entries = state.conversations[conversation]?.entries, range.lowerBound <= UInt64(entries.count) else { return [] }
            let first = Int(max(1, range.lowerBound)) - 1
            let end = Int(min(range.upperBound, UInt64(entries.count)))
            guard first < end else { return [] }
            var bytes = 0
            let page = entries[first..<end].prefix(max(0, limit)).prefix { entry in
                defer { bytes += entry.body.utf8.count }
                return bytes == 0 || bytes + entry.body.utf8.count <= bytesMax
            }
            return Array(page)
        }
    }

    public func head(of conversation: ConversationID) async throws -> Seq {
        state.withLockedValue { $0.conversations[conversation]?.state.head ?? 0 }
    }

    public func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        state.withLockedValue { state in
            let since = since.rawValue > state.position.rawValue ? .start : since
            let moved = state.conversations(of: account, after: after).filter { $0.moved.rawValue > since.rawValue }
            let heads = moved.prefix(max(0, limit)).map { stored in
                ConversationHead(
                    conversation: stored.state.conversation.id, seq: stored.visibleHead(of: account), read: stored.marks[account]?.read ?? 0
                )
            }
            return HeadPage(heads: heads, position: state.position, next: moved.count > limit ? heads.last?.conversation : nil)
        }
    }

    public func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage {
        state.withLockedValue { state in
            var moved: [ConversationID: LogPosition] = [:]
            for index in state.order.indices.dropFirst(Int(clamping: since.rawValue)) {
                moved[state.order[index]] = LogPosition(rawValue: UInt64(index + 1))
            }
            let sorted = moved.sorted { $0.value.rawValue < $1.value.rawValue }.prefix(max(0, limit))
            let heads = sorted.map { ConversationHead(conversation: $0.key, seq: state.conversations[$0.key]?.state.head ?? 0) }
            guard sorted.count < moved.count, let last = sorted.last else { return HeadPage(heads: heads, position: state.position) }
            return HeadPage(heads: heads, position: last.value)
        }
    }

    public func position() async throws -> LogPosition { state.withLockedValue(\.position) }
}

extension MemoryStore.State: AppendSource {
    var position: LogPosition { LogPosition(rawValue: UInt64(order.count)) }

    func state(of conversation: ConversationID) -> ConversationState? { conversations[conversation]?.state }

    func entry(named name: EntryName) -> Entry? {
        guard let stored = conversations[name.conversation], let index = stored.named[name] else { return nil }
        return stored.entries[index]
    }

    fileprivate mutating func write(_ planned: PlannedEntry) {
        let id = planned.entry.conversation
        for effect in planned.effects { write(effect, of: id, seq: planned.seq) }
        order.append(id)
        let position = position
        conversations[id]?.append(planned, at: position)
    }

    private mutating func write(_ effect: ConversationEffect, of id: ConversationID, seq: Seq) {
        switch effect {
        case .created(let conversation):
            conversations[id] = StoredConversation(
                state: ConversationState(conversation: conversation, head: 0, roster: Roster([], changed: 0)))
        case .joined(let member):
            conversations[id]?.stays[member.account, default: []].append(Stay(joined: member.joined))
            conversationsByAccount[member.account, default: []].insert(id)
        case .left(let account, _):
            conversations[id]?.endStay(of: account, with: seq)
        case .promoted, .renamed:
            break  // Part of the state that the plan ends in.
        }
    }
}

extension StoredConversation {
    fileprivate mutating func append(_ planned: PlannedEntry, at position: LogPosition) {
        named[planned.entry.name] = entries.count
        entries.append(planned.entry.entry(seq: planned.seq))
        moved = position
    }

    fileprivate mutating func endStay(of account: AccountID, with seq: Seq) {
        guard let last = stays[account]?.indices.last else { return }
        stays[account]?[last].left = seq
    }
}
