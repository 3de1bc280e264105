#if Cluster
import ApusCore
import ApusProtocol
import Foundation
import Testing

@testable import ApusBackends

extension MySQLTests {
    /// From a single node's SQLite to a cluster's MySQL.
    @Suite struct Migrating {
        static func withNodeAndDatabase(_ body: (SingleNode, MySQLConfiguration) async throws -> Void) async throws {
            try await withTemporaryDirectory { directory in
                let node = try await SingleNode(directory.appending(path: "data"))
                try await MySQLTests.withDatabase { try await body(node, $0) }
            }
        }

        private static func refusal(of work: () async throws -> DataMigrationReport) async -> StoreOpenError? {
            do {
                _ = try await work()
                return nil
            } catch {
                return error as? StoreOpenError
            }
        }

        enum End: CaseIterable { case stopped, killed }

        @Test(
            "everything is there afterwards and equal, in both parts of the log, and the source's files are as they were",
            arguments: End.allCases)
        func everything(end: End) async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                // A server that was killed leaves a write-ahead log, which is a part of the data.
                let directory = end == .killed ? try await Self.copyOfRunning(node) : node.directory
                let parts = try MigrationSource(directory: directory).read { source in
                    try ["entry", "entry_log l JOIN conversation c ON c.id = l.conversation WHERE l.seq > c.head"].map {
                        try source.session.row("SELECT COUNT(*) FROM \($0)")?.integer(0) ?? 0
                    }
                }
                #expect(parts.allSatisfy { $0 > 0 }, "the fixture has to have entries in both")
                let before = try Self.contents(of: directory)
                #expect((before["apus.sqlite-wal"]?.isEmpty == false) == (end == .killed))

                let report = try await DataMigration(from: directory, to: configuration).run()
                #expect(report.isEqual && report.isFinished)
                #expect(report.tables.map(\.name) == MigrationTable.all.map(\.name))
                #expect(report.tables.allSatisfy { $0.targetRows > 0 && $0.firstDifference == nil })
                #expect(report.tables.first { $0.name == "entry" }?.sourceRows == 75)
                let again = try await DataMigration(from: directory, to: configuration).run()
                #expect(again == report, "a finished migration that is run again changes nothing")
                #expect(try await DataMigration(from: directory, to: configuration).verify() == report)
                #expect(try Self.contents(of: directory) == before)
            }
        }

        /// The files as kill -9 would leave them, in a directory beside the node's.
        private static func copyOfRunning(_ node: SingleNode) async throws -> URL {
            let copy = node.directory.deletingLastPathComponent().appending(path: "killed")
            try await node.read { store in
                try await store.conversations.save([Mark(conversation: SingleNode.direct, account: SingleNode.bob, read: 3, delivered: 3)])
                try FileManager.default.copyItem(at: node.directory, to: copy)
            }
            return copy
        }

        /// Without the index of the write-ahead log, which is made anew by whoever opens the database.
        private static func contents(of directory: URL) throws -> [String: Data] {
            var contents: [String: Data] = [:]
            for file in ["apus.sqlite", "apus.sqlite-wal"] {
                contents[file] = FileManager.default.contents(atPath: directory.appending(path: file).path)
            }
            return contents
        }

        @Test("the cluster answers as the single node did, knows its repetitions, and goes on with its numbers")
        func goesOn() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                #expect(try await DataMigration(from: node.directory, to: configuration).run().isEqual)
                let store = try await MySQLStore(configuration: configuration)
                try await node.read { single in
                    for room in [SingleNode.direct, SingleNode.group] {
                        let entries = try await single.log.entries(of: room, in: 1...Seq.max, limit: 1_000, bytesMax: 1 << 20)
                        #expect(!entries.isEmpty)
                        #expect(try await store.log.entries(of: room, in: 1...Seq.max, limit: 1_000, bytesMax: 1 << 20) == entries)
                        #expect(
                            try await store.conversations.members(of: room, after: nil, limit: 10)
                                == single.conversations.members(of: room, after: nil, limit: 10))
                    }
                    for account in [SingleNode.alice, SingleNode.bob, SingleNode.carol, SingleNode.gone] {
                        #expect(
                            try await store.conversations.conversations(of: account, after: nil, limit: 10)
                                == single.conversations.conversations(of: account, after: nil, limit: 10))
                        #expect(try await store.accounts.account(account) == single.accounts.account(account))
                        #expect(try await store.devices.devices(of: account) == single.devices.devices(of: account))
                        // Whatever position a client has from the single node, it hears of every head.
                        let position = try await single.log.position()
                        let heads = try await single.log.heads(of: account, since: .start, after: nil, limit: 10).heads
                        #expect(try await store.log.heads(of: account, since: position, after: nil, limit: 10).heads == heads)
                    }
                    #expect(try await store.signingKeys.signingKeys() == single.signingKeys.signingKeys())
                }
                let repeated = SingleNode.entry(SingleNode.group, 7)
                guard case .duplicate(let first, _) = try store.log.append([repeated])[0] else {
                    Issue.record("a repeated entry was taken for a new one")
                    return
                }
                #expect(first.id == repeated.id && first.seq == 8)
                guard case .appended(let seq, let audience) = try store.log.append([SingleNode.entry(SingleNode.group, 500)])[0] else {
                    Issue.record("a new entry was refused")
                    return
                }
                #expect(seq == 41 && audience.accounts == [SingleNode.alice, SingleNode.bob])
                #expect(try await store.schedule.due(at: Timestamp(milliseconds: 100), limit: 10).map(\.id) == [EntryID(5)])
                try await store.close()
            }
        }

        @Test("the head sweep comes by every conversation, page by page, and does not see old ones again and again")
        func heads() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                #expect(try await DataMigration(from: node.directory, to: configuration).run().isEqual)
                let store = try await MySQLStore(configuration: configuration)
                var position = LogPosition.start
                var seen: [ConversationID: Seq] = [:]
                for _ in 0..<4 {
                    let page = try await store.log.movedHeads(since: position, limit: 1)
                    for head in page.heads { seen[head.conversation] = head.seq }
                    position = page.position
                }
                #expect(seen == [SingleNode.direct: 35, SingleNode.group: 40])
                #expect(try await store.log.position() == position)
                _ = try store.log.append([SingleNode.entry(SingleNode.direct, 600)])
                let moved = try await store.log.movedHeads(since: position, limit: 10).heads
                #expect(moved.contains(ConversationHead(conversation: SingleNode.direct, seq: 36)))
                try await store.close()
            }
        }

        @Test("no number of a node begins a life with an epoch or ids that the single node had")
        func leases() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                #expect(try await DataMigration(from: node.directory, to: configuration).run().isEqual)
                let store = try await MySQLStore(configuration: configuration)
                // The longest free number comes first, so the one that the single node had comes after the unused ones.
                var leases: [UInt16: NodeLease] = [:]
                while leases[0] == nil, leases.count < 1_024 {
                    let lease = try await store.nodeLeases.acquire(for: .seconds(60))
                    leases[lease.node.number] = lease
                }
                #expect(leases[0]?.node.epoch == 2 && leases[0]?.idsThrough == 77_777_777)
                #expect(leases[1]?.node.epoch == 1 && leases[1]?.idsThrough == 0)
                try await store.close()
            }
        }

        @Test("every table and column of the schema is moved")
        func coverage() async throws {
            try await MySQLTests.withStore { _, configuration in
                let connection = try MySQLConnection(configuration, .read)
                let rows = try connection.statement(
                    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
                ).rows([])
                var columns: [String: Set<String>] = [:]
                for row in rows { columns[try row.text(0), default: []].insert(try row.text(1)) }
                columns["schema_version"] = nil
                #expect(columns == Dictionary(uniqueKeysWithValues: MigrationTable.all.map { ($0.name, Set($0.columns)) }))
            }
        }

        // MARK: Refusals

        @Test("a running server's data are not touched, nor is the database")
        func runningSource() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                let running = try SQLiteStore(directory: node.directory)
                let error = await Self.refusal { try await DataMigration(from: node.directory, to: configuration).run() }
                #expect(error?.reason == .inUse)
                try running.close()
                #expect(try Self.tables(configuration).isEmpty)
            }
        }

        @Test("a directory without a database is refused and not made")
        func noSource() async throws {
            try await withTemporaryDirectory { directory in
                let missing = directory.appending(path: "missing")
                try await MySQLTests.withDatabase { configuration in
                    let error = await Self.refusal { try await DataMigration(from: missing, to: configuration).run() }
                    #expect(error?.reason == .unusable)
                    #expect(!FileManager.default.fileExists(atPath: missing.path))
                }
            }
        }

        @Test("a database that nodes have used, or that another program's tables are in, is refused as it is")
        func usedTarget() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                let store = try await MySQLStore(configuration: configuration)
                _ = try await store.nodeLeases.acquire(for: .seconds(1))
                try await store.close()
                let used = await Self.refusal { try await DataMigration(from: node.directory, to: configuration).run() }
                #expect(used?.description.contains("holds data already") == true)
                #expect(try !Self.tables(configuration).contains(MySQLSchema.unfinishedMigration))
            }
            try await Self.withNodeAndDatabase { node, configuration in
                try MySQLConnection(configuration, .migration).run("CREATE TABLE theirs (id BIGINT)")
                let foreign = await Self.refusal { try await DataMigration(from: node.directory, to: configuration).run() }
                #expect(foreign?.description.contains("another program") == true)
                #expect(try Self.tables(configuration) == ["theirs"])
            }
        }

        @Test("no node starts on a part of the data, and a source that was used meanwhile is noticed")
        func unfinished() async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                #expect(try await DataMigration(from: node.directory, to: configuration).run().isFinished)
                // As a migration leaves the database that was killed while it copied entries.
                let connection = try MySQLConnection(configuration, .migration)
                let identity = try MigrationSource(directory: node.directory).read { try $0.identity }
                try connection.run(
                    """
                    CREATE TABLE \(MySQLSchema.unfinishedMigration) (source VARCHAR(64) NOT NULL PRIMARY KEY)
                    """)
                try connection.run("INSERT INTO \(MySQLSchema.unfinishedMigration) VALUES ('\(identity)')")
                try connection.run("DELETE FROM entry WHERE seq > 12 AND conversation = \(SingleNode.group)")
                try connection.run("UPDATE node_lease SET epoch = 0, ids_through = 0, expires_at = 0")
                try connection.run("COMMIT")
                await #expect(throws: StoreOpenError.self) { try await MySQLStore(configuration: configuration) }
                let partial = try await DataMigration(from: node.directory, to: configuration).verify()
                #expect(!partial.isEqual && !partial.isFinished)
                #expect(partial.tables.first { $0.name == "entry" }?.firstDifference == "conversation=2000 seq=13")

                try await node.startAndStop()
                let error = await Self.refusal { try await DataMigration(from: node.directory, to: configuration).run() }
                #expect(error?.description.contains("unfinished migration of other data") == true)
            }
        }

        @Test(
            "a value that is not the same is found and its row is named",
            arguments: [
                ("UPDATE entry SET body = 'forged' WHERE conversation = 2000 AND seq = 9", "entry", "conversation=2000 seq=9"),
                ("UPDATE account SET display_name = 'Forged' WHERE id = 2", "account", "id=2"),
                ("DELETE FROM mark WHERE conversation = 2000", "mark", "conversation=2000 account=2"),
                ("INSERT INTO direct_conversation VALUES (8, 9, 10)", "direct_conversation", "low_account=8 high_account=9"),
                ("UPDATE refresh_token SET used_at = NULL", "refresh_token", String(repeating: "01", count: 32)),
            ])
        func tampered(statement: String, table: String, place: String) async throws {
            try await Self.withNodeAndDatabase { node, configuration in
                #expect(try await DataMigration(from: node.directory, to: configuration).run().isEqual)
                let connection = try MySQLConnection(configuration, .write)
                try connection.run(statement)
                try connection.run("COMMIT")
                let report = try await DataMigration(from: node.directory, to: configuration).verify()
                #expect(!report.isEqual)
                #expect(report.tables.filter { !$0.isEqual }.map(\.name) == [table])
                #expect(report.tables.first { $0.name == table }?.firstDifference?.hasSuffix(place) == true)
            }
        }

        private static func tables(_ configuration: MySQLConfiguration) throws -> [String] {
            let connection = try MySQLConnection(configuration, .read)
            return try connection.statement(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            ).rows([]).map { try $0.text(0) }
        }
    }
}
#endif
