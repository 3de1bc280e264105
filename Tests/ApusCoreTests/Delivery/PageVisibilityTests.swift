import ApusProtocol
import Testing

@testable import ApusCore

@Suite("What a page shows while members come and go", .timeLimit(.minutes(1)))
struct PageVisibilityTests {
    private static let group = ConversationID(7)
    private static let (host, guest) = (AccountID(1), AccountID(2))

    /// A group of two in which one entry was said, and what reads from it.
    private struct Stage {
        let store = MemoryStore()
        let log: DisturbedLog
        let delivery: Delivery

        init() throws {
            log = DisturbedLog(store)
            let clock = HandClock()
            let ids = IDGenerator(node: 1, clock: clock)
            let sequencer = Sequencer(log: log, handover: NoSessions(), ids: ids, clock: clock, logger: silentLogger)
            delivery = Delivery(
                sequencer: sequencer, log: log, conversations: store,
                scheduler: Scheduler(store: store, sequencer: sequencer, ids: ids, clock: clock, logger: silentLogger),
                marks: MarkBuffer(conversations: store, handover: NoSessions(), logger: silentLogger), handover: NoSessions(), clock: clock,
                rules: SendRules())
            try store.write(1, by: host, .create(title: "group", members: [guest]))
            try store.write(2, by: host)
        }

        /// Lets the guest leave, miss entry 4 and, maybe, come back with entry 5 around the next question about the head.
        func leave(_ moment: DisturbedLog.Moment, returns: Bool = false) {
            log.on(moment) { [store] in
                try store.write(3, by: guest, .leave)
                try store.write(4, by: host)
                if returns { try store.write(5, by: host, .join([guest])) }
            }
        }

        /// The seqs that the guest is shown.
        func shown(from: Seq = 1) async throws -> [Seq] {
            guard case .page(_, _, _, let entries) = try await delivery.page(of: group, for: guest, from: from, limit: 0) else { return [] }
            return entries.map(\.seq)
        }
    }

    @Test("who leaves while a page is read does not see what is said after that", arguments: DisturbedLog.Moment.allCases)
    func leaving(_ moment: DisturbedLog.Moment) async throws {
        let stage = try Stage()
        stage.leave(moment)
        // Whether the page reaches to the entry with which the guest left is open; entry 4 is not in it.
        let shown = try await stage.shown()
        #expect([[1, 2], [1, 2, 3]].contains(shown))
        #expect(try await stage.shown() == [1, 2, 3])
    }

    @Test("nor does who comes back while a page is read", arguments: DisturbedLog.Moment.allCases)
    func returning(_ moment: DisturbedLog.Moment) async throws {
        let stage = try Stage()
        stage.leave(moment, returns: true)
        #expect(try await stage.shown().contains(4) == false)
        #expect(try await stage.shown(from: 4) == [5])
    }
}

extension MemoryStore {
    fileprivate func write(_ id: UInt64, by sender: AccountID, _ change: ConversationChange? = nil) throws {
        let outcomes = try append([
            NewEntry(
                id: EntryID(id), conversation: ConversationID(7), sender: sender, clientID: "c\(id)", kind: change == nil ? .text : .system,
                body: "{}", at: Timestamp(milliseconds: 1), change: change)
        ])
        guard case .appended = outcomes.first else { throw ApusError(.internal, "not appended: \(outcomes)") }
    }
}
