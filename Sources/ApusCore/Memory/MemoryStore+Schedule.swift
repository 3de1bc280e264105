import ApusProtocol

extension MemoryStore: ScheduleStore {
    public func schedule(_ entry: ScheduledEntry, waitingMax: Int) async throws -> ScheduleOutcome {
        state.withLockedValue { state in
            let name = EntryName(conversation: entry.conversation, sender: entry.sender, clientID: entry.clientID)
            if let first = state.entry(named: name) {
                return first.kind == entry.kind && first.body == entry.body ? .delivered(first) : .conflict
            }
            if let first = state.scheduled[name] {
                let isSame = first.kind == entry.kind && first.body == entry.body && first.deliverAt == entry.deliverAt
                return isSame ? .duplicate(first) : .conflict
            }
            guard state.scheduled.values.count(where: { $0.sender == entry.sender }) < waitingMax else { return .full }
            state.scheduled[name] = entry
            return .scheduled
        }
    }

    public func due(at time: Timestamp, limit: Int) async throws -> [ScheduledEntry] {
        state.withLockedValue { state in
            let due = state.scheduled.values.filter { $0.deliverAt <= time }
            return Array(due.sorted { ($0.deliverAt, $0.id) < ($1.deliverAt, $1.id) }.prefix(max(0, limit)))
        }
    }

    public func nextDue() async throws -> Timestamp? {
        state.withLockedValue { state in state.scheduled.values.map(\.deliverAt).min() }
    }

    public func remove(_ ids: [EntryID]) async throws {
        let ids = Set(ids)
        state.withLockedValue { state in state.scheduled = state.scheduled.filter { !ids.contains($0.value.id) } }
    }
}
