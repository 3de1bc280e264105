import ApusCore
import ApusProtocol
import Foundation
import GRDB
import Testing

@testable import ApusBackends

/// What the embedded store promises beyond the conformance kit: durability, and memory that agrees with the disk.
@Suite struct SQLiteLogTests {
    /// Small runs, so that a few appends go through every state of the move from the commit log to the tables.
    static var eager: SQLiteStore.Options {
        var options = SQLiteStore.Options()
        options.recentEntriesMin = 8
        options.flushSliceMin = 4
        return options
    }

    static let alice = AccountID(1)

    static func entry(_ conversation: UInt64, _ index: Int, body: String? = nil, change: ConversationChange? = nil) -> NewEntry {
        NewEntry(
            id: EntryID(UInt64(index + 1)), conversation: ConversationID(conversation), sender: alice, clientID: "client-\(index)",
            kind: change == nil ? .text : .system, body: body ?? "body \(index)", at: Timestamp(milliseconds: 1),
            change: change)
    }

    static func makeGroups(_ ids: ClosedRange<UInt64>, in store: SQLiteStore) throws {
        for id in ids { _ = try store.log.append([entry(id, -1, change: .create(title: "g", members: []))]) }
    }

    @Test("commits are synced: synchronous=FULL is what the writing connection really has")
    func synchronousFull() async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory)
            let (synchronous, journal, checkpoint) = try store.database.onWriter { database in
                (
                    try Int.fetchOne(database, sql: "PRAGMA synchronous"), try String.fetchOne(database, sql: "PRAGMA journal_mode"),
                    try Int.fetchOne(database, sql: "PRAGMA wal_autocheckpoint")
                )
            }
            #expect(synchronous == 2)
            #expect(journal == "wal")
            #expect(checkpoint == 0)
            try store.close()
        }
    }

    @Test("whatever the moment of a kill, a reopened store has every acknowledged entry, once and in its place")
    func crashes() async throws {
        try await withTemporaryDirectory { directory in
            let data = directory.appendingPathComponent("data")
            let store = try SQLiteStore(directory: data, options: Self.eager)
            try Self.makeGroups(1...3, in: store)
            var bodies: [UInt64: [String]] = [1: ["body -1"], 2: ["body -1"], 3: ["body -1"]]
            for index in 0..<60 {
                let conversation = UInt64(index % 3 + 1)
                _ = try store.log.append([Self.entry(conversation, index)])
                bodies[conversation, default: []].append("body \(index)")
                // The files as kill -9 would leave them.
                let image = directory.appendingPathComponent("image")
                try copyDatabase(from: data, to: image)
                let reopened = try SQLiteStore(directory: image, options: Self.eager)
                for (conversation, expected) in bodies {
                    let id = ConversationID(conversation)
                    let entries = try await reopened.log.entries(of: id, in: 1 ... .max, limit: 100, bytesMax: .max)
                    try #require(entries.map(\.body) == expected)
                    try #require(entries.map(\.seq) == Array(1...UInt64(expected.count)))
                    #expect(try await reopened.log.head(of: id) == UInt64(expected.count))
                }
                #expect(try await reopened.log.position() == store.log.position())
                #expect(try await reopened.log.movedHeads(since: .start, limit: 10).heads.count == 3)
                let outcomes = try reopened.log.append([Self.entry(conversation, index), Self.entry(conversation, 1000)])
                guard case .duplicate = outcomes[0] else { Issue.record("a repeated entry: \(outcomes[0])"); return }
                guard case .appended(let seq, _) = outcomes[1] else { Issue.record("the next entry: \(outcomes[1])"); return }
                #expect(seq == UInt64(bodies[conversation, default: []].count + 1))
                try reopened.close()
                try FileManager.default.removeItem(at: image)
            }
            try store.close()
        }
    }

    @Test("names of entries are found however long ago they moved to the tables")
    func oldNames() async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory, options: Self.eager)
            try Self.makeGroups(1...4, in: store)
            for index in 0..<200 { _ = try store.log.append([Self.entry(UInt64(index % 4 + 1), index)]) }
            for index in 0..<200 {
                let outcome = try store.log.append([Self.entry(UInt64(index % 4 + 1), index)])[0]
                guard case .duplicate(let entry, _) = outcome else { Issue.record("entry \(index): \(outcome)"); return }
                #expect(entry.seq == UInt64(index / 4 + 2))
                #expect(entry.body == "body \(index)")
            }
            try store.close()
        }
    }

    @Test("the commit log and what memory holds of it stay bounded")
    func boundedLog() async throws {
        try await withTemporaryDirectory { directory in
            let log = try SQLiteStore(directory: directory, options: Self.eager)
            try Self.makeGroups(1...3, in: log)
            for index in 0..<300 {
                _ = try log.log.append([Self.entry(UInt64(index % 3 + 1), index)])
                let rows = try log.database.onWriter { try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM entry_log") ?? 0 }
                #expect(rows <= 24)
            }
            let entries = try log.database.onWriter { try Int.fetchOne($0, sql: "SELECT COUNT(*) FROM entry") ?? 0 }
            #expect(entries > 250)
            try log.close()
        }
    }

    @Test("on a full disk sends are refused as retryable, nothing acknowledged is lost, and later sends work")
    func fullDisk() async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory, options: Self.eager)
            try Self.makeGroups(1...1, in: store)
            try store.database.onWriter { database in
                let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
                _ = try Int.fetchOne(database, sql: "PRAGMA max_page_count = \(pages + 10)")
            }
            let body = String(repeating: "x", count: 3000)
            var acknowledged = 0
            var refused: ApusError?
            while refused == nil && acknowledged < 100 {
                do {
                    _ = try store.log.append([Self.entry(1, acknowledged, body: body)])
                    acknowledged += 1
                } catch let error as ApusError {
                    refused = error
                }
            }
            #expect(refused?.code == .storeUnavailable)
            #expect(refused?.code.isRetryable == true)
            #expect(acknowledged > 0)
            let stored = try await store.log.entries(of: ConversationID(1), in: 1 ... .max, limit: 1000, bytesMax: .max)
            #expect(stored.count == acknowledged + 1)
            await #expect(throws: ApusError.self) {
                for id in 1...100 as ClosedRange<UInt64> {
                    let account = Account(
                        id: AccountID(id), username: "user\(id)", displayName: body, passwordHash: "", createdAt: Timestamp(milliseconds: 1)
                    )
                    try await store.accounts.create(account)
                }
            }
            try store.database.onWriter { _ = try Int.fetchOne($0, sql: "PRAGMA max_page_count = 1000000") }
            let outcome = try store.log.append([Self.entry(1, acknowledged, body: body)])[0]
            guard case .appended(let seq, _) = outcome else { Issue.record("after the disk has room: \(outcome)"); return }
            #expect(seq == UInt64(acknowledged + 2))
            try store.close()
        }
    }

    @Test("a failed commit that reached the disk after all is found before the next append")
    func commitInDoubt() async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory, options: Self.eager)
            try Self.makeGroups(1...1, in: store)
            _ = try store.log.append([Self.entry(1, 0)])
            try store.database.onWriter { database in
                try database.execute(
                    sql: "CREATE TRIGGER refuse BEFORE INSERT ON entry_log BEGIN SELECT RAISE(ABORT, 'as if the disk failed'); END")
            }
            #expect(throws: ApusError.self) { try store.log.append([Self.entry(1, 1)]) }
            try store.database.onWriter { database in
                try database.execute(sql: "DROP TRIGGER refuse")
                // As if the commit had been written before the error came.
                try LogTables(session: SQLiteSession(database: database)).append([
                    LoggedEntry(position: 3, clientID: "client-1", entry: Self.entry(1, 1).entry(seq: 3))
                ])
            }
            let outcomes = try store.log.append([Self.entry(1, 1), Self.entry(1, 2)])
            guard case .duplicate(let entry, _) = outcomes[0] else { Issue.record("the entry in doubt: \(outcomes[0])"); return }
            #expect(entry.seq == 3)
            guard case .appended(let seq, _) = outcomes[1] else { Issue.record("the next: \(outcomes[1])"); return }
            #expect(seq == 4)
            try store.close()
        }
    }

    @Test("the write-ahead log is copied back while the store runs and stays bounded")
    func boundedWAL() async throws {
        try await withTemporaryDirectory { directory in
            var options = SQLiteStore.Options()
            options.checkpointPages = 50
            options.walBytesMax = 1 << 20
            let store = try SQLiteStore(directory: directory, options: options)
            try Self.makeGroups(1...1, in: store)
            let body = String(repeating: "x", count: 4000)
            for batch in 0..<100 {
                _ = try store.log.append((0..<40).map { Self.entry(1, batch * 40 + $0, body: body) })
            }
            let wal = directory.appendingPathComponent("apus.sqlite-wal").path
            let bytes = try #require(try FileManager.default.attributesOfItem(atPath: wal)[.size] as? Int)
            #expect(bytes < 6 << 20, "16 MB were written")
            try store.close()
        }
    }

    @Test("a backup of a running store opens as a store and has what was acknowledged before it began")
    func backup() async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory.appendingPathComponent("data"), options: Self.eager)
            try Self.makeGroups(1...1, in: store)
            for index in 0..<50 { _ = try store.log.append([Self.entry(1, index)]) }
            let copyDirectory = directory.appendingPathComponent("copy")
            try FileManager.default.createDirectory(at: copyDirectory, withIntermediateDirectories: true)
            let file = copyDirectory.appendingPathComponent("apus.sqlite")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for index in 50..<150 { _ = try store.log.append([Self.entry(1, index)]) } }
                group.addTask { try store.backup(to: file) }
                try await group.waitForAll()
            }
            #expect(throws: ApusError.self, "an existing file is not overwritten") { try store.backup(to: file) }
            let copy = try SQLiteStore(directory: copyDirectory)
            #expect(try await copy.check() == [])
            let entries = try await copy.log.entries(of: ConversationID(1), in: 1 ... .max, limit: 1000, bytesMax: .max)
            #expect(entries.count >= 51)
            #expect(entries.map(\.seq) == Array(1...UInt64(entries.count)))
            try copy.close()
            try store.close()
        }
    }

    private func copyDatabase(from source: URL, to target: URL) throws {
        try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
        for name in ["apus.sqlite", "apus.sqlite-wal"] {
            let file = source.appendingPathComponent(name)
            if FileManager.default.fileExists(atPath: file.path) {
                try FileManager.default.copyItem(at: file, to: target.appendingPathComponent(name))
            }
        }
    }
}
