import ApusProtocol
import Logging
import Testing

@testable import ApusCore

@Suite("Deleted accounts leave", .timeLimit(.minutes(1)))
struct AccountDeparturesTests {
    private static let gone = AccountID(1)
    private static let other = AccountID(2)
    private static let conversations = (100..<107).map { ConversationID(UInt64($0)) }

    /// Two deleted accounts, in seven conversations each, and what takes them out of three at a time.
    private struct Stage {
        let store = MemoryStore()
        let log: DisturbedLog
        let departures: AccountDepartures

        init() async throws {
            log = DisturbedLog(store)
            let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
            let ids = IDGenerator(node: 1, clock: SystemClock())
            let sequencer = Sequencer(log: log, handover: NoSessions(), ids: ids, clock: SystemClock(), logger: logger)
            let delivery = Delivery(
                sequencer: sequencer, log: log, conversations: store,
                scheduler: Scheduler(store: store, sequencer: sequencer, ids: ids, clock: SystemClock(), logger: logger),
                marks: MarkBuffer(conversations: store, handover: NoSessions(), logger: logger), handover: NoSessions(),
                clock: SystemClock(), rules: SendRules())
            departures = AccountDepartures(
                accounts: store, conversations: store, delivery: delivery, clock: SystemClock(), interval: .seconds(3600), pageMax: 3,
                logger: logger)
            for account in [gone, other] {
                try await store.create(
                    Account(
                        id: account, username: "user\(account)", displayName: "", passwordHash: "", createdAt: Timestamp(milliseconds: 1)))
            }
            for (index, id) in conversations.enumerated() {
                let change = ConversationChange.create(title: "group", members: [other, AccountID(3)])
                _ = try store.append([
                    NewEntry(
                        id: EntryID(UInt64(index + 1)), conversation: id, sender: gone, clientID: "c", kind: .system, body: "{}",
                        at: Timestamp(milliseconds: 1), change: change)
                ])
            }
            for account in [gone, other] { try await store.delete(account, at: Timestamp(milliseconds: 2)) }
        }

        /// What stands in the logs after the creation of each group.
        func departed() async throws -> [[AccountID]] {
            var departed: [[AccountID]] = []
            for id in conversations {
                departed.append(try await store.entries(of: id, in: 2 ... .max, limit: 10, bytesMax: .max).map(\.sender))
            }
            return departed
        }
    }

    @Test("every conversation is left, over several pages, with one entry each, and then nothing is left to do")
    func all() async throws {
        let stage = try await Stage()
        try await stage.departures.sweep()
        #expect(try await stage.departed() == Array(repeating: [Self.gone, Self.other], count: 7))
        #expect(try await stage.store.departing(after: nil, limit: 10) == [])
        for id in Self.conversations {
            let members = try await stage.store.members(of: id, after: nil, limit: 10)
            #expect(members.map(\.account) == [AccountID(3)])
            #expect(members.map(\.role) == [.owner])
        }
    }

    @Test("what stopped in the middle goes on where it was, and does not hold up the accounts after it")
    func resumed() async throws {
        let stage = try await Stage()
        stage.log.refused = [Self.conversations[4]]
        try await stage.departures.sweep()
        #expect(try await stage.departed().map(\.count) == [2, 2, 2, 2, 0, 0, 0])
        #expect(try await stage.store.departing(after: nil, limit: 10) == [Self.gone, Self.other])
        stage.log.refused = []
        try await stage.departures.sweep()
        #expect(try await stage.departed() == Array(repeating: [Self.gone, Self.other], count: 7))
        #expect(try await stage.store.departing(after: nil, limit: 10) == [])
    }

    @Test("two processes that do it at once leave each conversation once")
    func together() async throws {
        let stage = try await Stage()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { try await stage.departures.sweep() } }
            try await group.waitForAll()
        }
        #expect(Set(try await stage.departed().map(Set.init)) == [[Self.gone, Self.other]])
        #expect(try await stage.departed().map(\.count) == Array(repeating: 2, count: 7))
    }

    @Test("a running service begins at its start and when it is rung for")
    func service() async throws {
        let stage = try await Stage()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await stage.departures.run() }
            while try await !stage.store.departing(after: nil, limit: 1).isEmpty { await Task.yield() }
            try await stage.store.create(
                Account(id: AccountID(3), username: "late", displayName: "", passwordHash: "", createdAt: Timestamp(milliseconds: 1)))
            try await stage.store.delete(AccountID(3), at: Timestamp(milliseconds: 3))
            stage.departures.ring()
            while try await !stage.store.departing(after: nil, limit: 1).isEmpty { await Task.yield() }
            group.cancelAll()
        }
        #expect(try await stage.store.conversations(of: AccountID(3), after: nil, limit: 10) == [])
    }
}
