import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import Testing

@testable import ApusCore

@Suite("Head sweep")
struct HeadSweepTests {
    private final class RepairRecorder: Handover {
        let repaired = NIOLockedValueBox<[ConversationHead]>([])

        func handOver(_ batch: [AppendResult]) {}
        func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {}
        func repair(_ head: ConversationHead, audience: Audience) { repaired.withLockedValue { $0.append(head) } }
    }

    @Test("a head is repaired by the sweep after the one that found it, once, and what was there before the first is not")
    func rounds() async throws {
        let store = MemoryStore()
        let recorder = RepairRecorder()
        let sweep = HeadSweep(
            log: store, conversations: store, handover: recorder, interval: .seconds(1),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        let now = Timestamp(milliseconds: 1)
        let conversation = try await store.direct(between: AccountID(1), and: AccountID(2), proposedID: ConversationID(5), at: now).id
        func append(_ clientID: String) throws {
            _ = try store.append([
                NewEntry(
                    id: EntryID(9), conversation: conversation, sender: AccountID(1), clientID: clientID, kind: .text, body: "x", at: now)
            ])
        }
        var state = HeadSweep.State()
        try append("a")
        try await sweep.sweep(&state)
        try append("b")
        try append("c")
        try await sweep.sweep(&state)
        #expect(recorder.repaired.withLockedValue { $0.isEmpty })
        try await sweep.sweep(&state)
        #expect(recorder.repaired.withLockedValue { $0.map(\.seq) } == [3])
        try await sweep.sweep(&state)
        #expect(recorder.repaired.withLockedValue { $0.count } == 1)
    }

    /// Reports every head each time, as a store does that looks back before the position.
    private struct RepeatingLog: EntryLog {
        let store: MemoryStore

        func append(_ batch: [NewEntry]) throws -> [AppendOutcome] { try store.append(batch) }
        func entries(of conversation: ConversationID, in range: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] {
            try await store.entries(of: conversation, in: range, limit: limit, bytesMax: bytesMax)
        }
        func head(of conversation: ConversationID) async throws -> Seq { try await store.head(of: conversation) }
        func heads(of account: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
            try await store.heads(of: account, since: .start, after: after, limit: limit)
        }
        func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage {
            try await store.movedHeads(since: .start, limit: limit)
        }
        func position() async throws -> LogPosition { try await store.position() }
    }

    @Test("a head that the store reports again is not repaired again, a new one of the same conversation is")
    func repeatedReports() async throws {
        let store = MemoryStore()
        let recorder = RepairRecorder()
        let sweep = HeadSweep(
            log: RepeatingLog(store: store), conversations: store, handover: recorder, interval: .seconds(1),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        let now = Timestamp(milliseconds: 1)
        let conversation = try await store.direct(between: AccountID(1), and: AccountID(2), proposedID: ConversationID(5), at: now).id
        var state = HeadSweep.State(position: .start)
        for clientID in ["a", "b"] {
            _ = try store.append([
                NewEntry(
                    id: EntryID(9), conversation: conversation, sender: AccountID(1), clientID: clientID, kind: .text, body: "x", at: now)
            ])
            for _ in 0..<3 { try await sweep.sweep(&state) }
        }
        #expect(recorder.repaired.withLockedValue { $0.map(\.seq) } == [1, 2])
    }
}
