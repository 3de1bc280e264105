#if Cluster
import ApusCore
import ApusProtocol
import ApusTesting
import Foundation
import NIOConcurrencyHelpers
import Testing

@testable import ApusBackends

extension MySQLTests {
    /// What holds when several nodes append, and when the server goes.
    @Suite struct Log {
        @Test("two nodes append to the same conversations at once: no seq is missing or given twice, each name is one entry (C2, C3)")
        func twoWriters() async throws {
            try await MySQLTests.withStore { first, configuration in
                let second = try await MySQLStore(configuration: configuration)
                let rooms = (1...5 as ClosedRange<UInt64>).map { ConversationID($0) }
                _ = try await Self.append(rooms.map(Self.creation), to: first)
                // Both send the same entries, in batches over all conversations in different orders; so each collides with the other.
                let seqs = try await withThrowingTaskGroup(of: [EntryName: Seq].self) { group in
                    for (store, isReversed) in [(first, false), (second, true)] {
                        group.addTask {
                            var seqs: [EntryName: Seq] = [:]
                            for round in 0..<40 {
                                let entries = rooms.flatMap { room in (0..<3).map { Self.entry(room, "c\(round)-\($0)") } }
                                let batch = isReversed ? entries.reversed() : entries
                                for (entry, outcome) in zip(batch, try await Self.append(batch, to: store)) {
                                    let seq: Seq = try #require(outcome.storedSeq, "\(outcome)")
                                    seqs[entry.name] = seq
                                }
                            }
                            return seqs
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(seqs[0] == seqs[1], "both nodes give the same answers")
                for room in rooms {
                    let entries = try await second.log.entries(of: room, in: 1 ... .max, limit: 1000, bytesMax: .max)
                    #expect(entries.map(\.seq) == Array(1...121))
                    #expect(try await first.log.head(of: room) == 121)
                }
                try await second.close()
            }
        }

        @Test("a member who left through one node cannot write through another, nor is he among its readers")
        func rosterAcrossNodes() async throws {
            try await MySQLTests.withStore { first, configuration in
                let second = try await MySQLStore(configuration: configuration)
                let room = ConversationID(1)
                let bob = AccountID(2)
                var creation = Self.creation(of: room)
                creation.change = .create(title: "t", members: [bob])
                _ = try await Self.append([creation], to: first)
                // Both have the roster in their caches now.
                _ = try await Self.append([Self.entry(room, "a")], to: first)
                _ = try await Self.append([Self.entry(room, "b", sender: bob)], to: second)
                var leave = Self.entry(room, "leave", sender: bob)
                leave.change = .leave
                _ = try await Self.append([leave], to: first)
                let outcome = try #require(try await Self.append([Self.entry(room, "c", sender: bob)], to: second).first)
                guard case .refused(.notMember) = outcome else {
                    Issue.record("\(outcome)")
                    return
                }
                #expect(try await second.conversations.audience(of: room)?.accounts == [Self.alice])
                // What he had said before is still answered as said.
                let again = try #require(try await Self.append([Self.entry(room, "b", sender: bob)], to: second).first)
                #expect(again.storedSeq == 3)
                try await second.close()
            }
        }

        @Test("many nodes make the same conversation at once: one does, the others are told")
        func creationRace() async throws {
            try await MySQLTests.withStore { first, configuration in
                let second = try await MySQLStore(configuration: configuration)
                for id in 1...20 as ClosedRange<UInt64> {
                    var creations = [Self.creation(of: ConversationID(id)), Self.creation(of: ConversationID(id))]
                    creations[1].clientID = "another"
                    let outcomes = try await withThrowingTaskGroup(of: AppendOutcome.self) { group in
                        for (store, creation) in zip([first, second], creations) {
                            group.addTask { try #require(try await Self.append([creation], to: store).first) }
                        }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    #expect(outcomes.count { $0.storedSeq == 1 } == 1)
                    #expect(outcomes.count { if case .refused(.conflict) = $0 { true } else { false } } == 1)
                }
                try await second.close()
            }
        }

        @Test("a group of 10,000 and a batch of megabytes are one transaction each")
        func large() async throws {
            try await MySQLTests.withStore { store, _ in
                let room = ConversationID(1)
                var creation = Self.creation(of: room)
                creation.change = .create(title: "t", members: (2...10_000).map { AccountID($0) })
                let outcome = try #require(try await Self.append([creation], to: store).first)
                #expect(outcome.storedSeq == 1)
                #expect(try await store.conversations.audience(of: room)?.accounts.count == 10_000)
                #expect(try await store.conversations.conversation(room, of: AccountID(10_000))?.memberCount == 10_000)
                let bodies = (0..<600).map { String(repeating: "\($0 % 10)", count: 32_768) }
                let batch = bodies.enumerated().map { index, body in
                    var entry = Self.entry(room, "c\(index)")
                    entry.body = body
                    return entry
                }
                #expect(try await Self.append(batch, to: store).map(\.storedSeq) == (2...601).map { Seq($0) })
                let page = try await store.log.entries(of: room, in: 2 ... .max, limit: 1000, bytesMax: 10 << 20)
                #expect(page.map(\.body) == Array(bodies.prefix(320)))
            }
        }

        @Test("a transaction that deadlocks is tried again, all of it")
        func deadlock() async throws {
            try await MySQLTests.withStore { store, configuration in
                for (id, name) in [(1, "a"), (2, "b")] {
                    try await store.accounts.create(
                        Account(
                            id: AccountID(UInt64(id)), username: name, displayName: "", passwordHash: "",
                            createdAt: Timestamp(milliseconds: 0)))
                }
                let driver = MySQLDriver(configuration)
                let tries = NIOLockedValueBox(0)
                // Each first locks its own row; only when both have, each wants the other's. Without a deadlock there are two tries.
                let bothHave = DispatchGroup()
                for _ in 0..<2 { bothHave.enter() }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for order in [[1, 2], [2, 1]] {
                        let isFirstTry = NIOLockedValueBox(true)
                        group.addTask {
                            try await driver.write { session in
                                tries.withLockedValue { $0 += 1 }
                                for (place, id) in order.enumerated() {
                                    if place == 1,
                                        isFirstTry.withLockedValue({
                                            let was = $0; $0 = false; return was
                                        })
                                    {
                                        bothHave.leave()
                                        bothHave.wait()
                                    }
                                    try session.execute(
                                        "UPDATE account SET created_at = created_at + 1 WHERE id = ?", .integer(Int64(id)))
                                }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(tries.withLockedValue { $0 } == 3)
                for id in 1...2 as ClosedRange<UInt64> {
                    #expect(try await store.accounts.account(AccountID(id))?.createdAt == Timestamp(milliseconds: 2))
                }
                try await driver.close()
            }
        }

        @Test("a head whose transaction commits late is found by the sweep that began after a later one")
        func lateCommit() async throws {
            try await MySQLTests.withStore { store, configuration in
                let rooms = (1...2 as ClosedRange<UInt64>).map { ConversationID($0) }
                _ = try await Self.append(rooms.map(Self.creation), to: store)
                // What an append of another node does: stamp a head, and some time after that commit.
                let late = try MySQLConnection(configuration, .write)
                try late.run("UPDATE conversation SET head = 2, moved = \(MySQLEntryLog.nowStamp) WHERE id = 1")
                _ = try await Self.append([Self.entry(rooms[1], "a")], to: store)
                let page = try await store.log.movedHeads(since: .start, limit: 100)
                #expect(page.heads.map(\.seq) == [1, 2], "the late one is not seen yet")
                try late.run("COMMIT")
                let next = try await store.log.movedHeads(since: page.position, limit: 100)
                #expect(next.heads.contains(ConversationHead(conversation: rooms[0], seq: 2)))
                let synced = try await store.log.heads(of: Self.alice, since: page.position, after: nil, limit: 100)
                #expect(synced.heads.contains(ConversationHead(conversation: rooms[0], seq: 2)))
            }
        }

        @Test("kill -9 of the server between and within appends loses nothing acknowledged, and appends go on after its restart (C1)")
        func killedServer() async throws {
            let server = try #require(MariaDBTrait.server)
            try await MySQLTests.withStore { store, configuration in
                let room = ConversationID(1)
                _ = try await Self.append([Self.creation(of: room)], to: store)
                let acknowledged = NIOLockedValueBox<[String: Seq]>([:])
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for index in 0..<400 {
                            let entry = Self.entry(room, "c\(index)")
                            // As a client does: again and again, under the same name.
                            while true {
                                do {
                                    let outcome = try #require(try await Self.append([entry], to: store).first)
                                    let seq = try #require(outcome.storedSeq)
                                    acknowledged.withLockedValue { $0[entry.clientID] = seq }
                                    break
                                } catch let error as ApusError where error.code == .storeUnavailable {
                                    try await Task.sleep(for: .milliseconds(5))
                                }
                            }
                        }
                    }
                    group.addTask {
                        for round in 1...3 {
                            while acknowledged.withLockedValue({ $0.count }) < round * 100 { try await Task.sleep(for: .milliseconds(1)) }
                            await server.process.kill()
                            try await server.process.start()
                        }
                    }
                    try await group.waitForAll()
                }
                let entries = try await store.log.entries(of: room, in: 2 ... .max, limit: 1000, bytesMax: .max)
                let stored = Dictionary(uniqueKeysWithValues: entries.map { ($0.body, $0.seq) })
                #expect(stored == acknowledged.withLockedValue { $0 })
                #expect(entries.map(\.seq) == Array(2...401))
            }
        }

        static let alice = AccountID(1)

        static func creation(of room: ConversationID) -> NewEntry {
            var entry = entry(room, "create")
            entry.kind = .system
            entry.change = .create(title: "t", members: [])
            return entry
        }

        static func entry(_ room: ConversationID, _ clientID: String, sender: AccountID = alice) -> NewEntry {
            NewEntry(
                id: EntryID(UInt64(clientID.utf8.reduce(7) { ($0 &* 31 &+ Int($1)) & 0xFFFF_FFFF })), conversation: room, sender: sender,
                clientID: clientID, kind: .text, body: clientID, at: Timestamp(milliseconds: 1))
        }

        static func append(_ batch: some Sequence<NewEntry>, to store: MySQLStore) async throws -> [AppendOutcome] {
            let batch = Array(batch)
            return try await withCheckedThrowingContinuation { continuation in
                DispatchQueue.global().async { continuation.resume(with: Result { try store.log.append(batch) }) }
            }
        }
    }
}

extension AppendOutcome {
    /// Of a new entry or of the first one of its name.
    fileprivate var storedSeq: Seq? {
        switch self {
        case .appended(let seq, _): seq
        case .duplicate(let entry, _): entry.seq
        case .refused: nil
        }
    }
}
#endif
