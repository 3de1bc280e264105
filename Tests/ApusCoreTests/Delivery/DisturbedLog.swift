import ApusProtocol
import NIOConcurrencyHelpers

@testable import ApusCore

/// A log in memory that refuses what a test wants refused, and around whose reads things happen.
final class DisturbedLog: EntryLog {
    /// With respect to the answer about a head.
    enum Moment: CaseIterable {
        case before, after
    }

    private struct State {
        var refused: Set<ConversationID> = []
        var events: [Moment: @Sendable () throws -> Void] = [:]
    }

    private let store: MemoryStore
    private let state = NIOLockedValueBox(State())

    init(_ store: MemoryStore) { self.store = store }

    /// Where nothing can be written.
    var refused: Set<ConversationID> {
        get { state.withLockedValue { $0.refused } }
        set { state.withLockedValue { $0.refused = newValue } }
    }

    /// Lets `event` happen once, around the next question about a head.
    func on(_ moment: Moment, _ event: @escaping @Sendable () throws -> Void) { state.withLockedValue { $0.events[moment] = event } }

    private func happen(_ moment: Moment) throws { try state.withLockedValue { $0.events.removeValue(forKey: moment) }?() }

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        if batch.contains(where: { refused.contains($0.conversation) }) { throw ApusError(.storeUnavailable, "as the test wants it") }
        return try store.append(batch)
    }

    func entries(of id: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
        try await store.entries(of: id, in: range, limit: limit, bytesMax: bytesMax)
    }

    func head(of id: ConversationID) async throws -> Seq {
        try happen(.before)
        let head = try await store.head(of: id)
        try happen(.after)
        return head
    }

    func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        try await store.heads(of: account, since: since, after: after, limit: limit)
    }

    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage { try await store.movedHeads(since: since, limit: limit) }
    func position() async throws -> LogPosition { try await store.position() }
}
