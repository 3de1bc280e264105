#if Cluster
import ApusChaos
import Foundation
import Testing

@testable import ApusBackends

extension MySQLTests {
    /// The command itself, as a process that can be killed.
    @Suite struct MigrateCommands {
        private static let messages = 6_000

        @Test(
            "killed again and again at any moment, the same command ends with everything moved, and no node starts before",
            arguments: [1, 2])
        func kills(seed: UInt64) async throws {
            try await withTemporaryDirectory { directory in
                let node = try await SingleNode(directory.appending(path: "data"), messages: Self.messages)
                try await MySQLTests.withDatabase { configuration in
                    var random = SeededGenerator(seed: seed)
                    // Of some 12,000 entries. The first kill comes before there are any.
                    let moments = [-1] + (0..<4).map { _ in Int.random(in: 0..<9_000, using: &random) }.sorted()
                    var kills = 0
                    for moment in moments where try await Self.migrateAndKill(node, configuration, whenThereAre: moment) {
                        kills += 1
                        guard try Self.hasBegun(configuration) else { continue }
                        let start = try await Self.serve(configuration, data: directory)
                        #expect(start.exit == .code(74) && start.errors.contains("is not finished"), "a node started on a part of the data")
                    }
                    #expect(kills >= 3, "the migration was too fast to be killed")
                    let result = try await Self.migrate(node, configuration, ["--json"])
                    #expect(result.exit == .code(0), "\(result.errors)")
                    #expect(result.output.contains("\"equal\":true") && result.output.contains("\"finished\":true"))
                    let store = try await MySQLStore(configuration: configuration)
                    _ = try await store.nodeLeases.acquire(for: .seconds(1))
                    try await store.close()
                    let late = try await Self.migrate(node, configuration)
                    #expect(late.exit == .code(74) && late.errors.contains("holds data already"), "a node has run on it since")
                }
            }
        }

        @Test("--verify-only says 65 and where, when a row was tampered with, and changes nothing")
        func tampered() async throws {
            try await Migrating.withNodeAndDatabase { node, configuration in
                #expect(try await Self.migrate(node, configuration).exit == .code(0))
                let connection = try MySQLConnection(configuration, .write)
                try connection.run("UPDATE entry SET body = 'forged' WHERE conversation = 1000 AND seq = 3")
                try connection.run("COMMIT")
                for _ in 0..<2 {
                    let result = try await Self.migrate(node, configuration, ["--verify-only"])
                    #expect(result.exit == .code(65))
                    #expect(result.output.contains("NOT EQUAL, first at conversation=1000 seq=3"))
                    #expect(result.errors.contains("not equal"))
                }
            }
        }

        private static func arguments(_ node: SingleNode) -> [String] { ["migrate", "--from", "sqlite:\(node.directory.path)"] }

        private static func environment(_ configuration: MySQLConfiguration) -> [String: String] {
            [
                "APUS_CLUSTER_STORE":
                    "mysql://\(configuration.user):\(configuration.password)@\(configuration.host):\(configuration.port)/\(configuration.database)"
            ]
        }

        private static func migrate(
            _ node: SingleNode, _ configuration: MySQLConfiguration, _ flags: [String] = []
        ) async throws -> Command.Result {
            try await Command.run(
                try ApusBinary.locate(), arguments(node) + flags, environment: environment(configuration), timeout: .seconds(120))
        }

        /// A node, which does not come to look for its Redis and its registry.
        private static func serve(_ configuration: MySQLConfiguration, data: URL) async throws -> Command.Result {
            let nowhere = [
                "APUS_CLUSTER_REDIS": "redis://127.0.0.1:1", "APUS_CLUSTER_REGISTRY": "zookeeper://127.0.0.1:1/apus",
                "APUS_CLUSTER_SECRET": String(repeating: "s", count: 32),
            ]
            return try await Command.run(
                try ApusBinary.locate(), ["serve", "--data", data.appending(path: "node").path, "--http", "127.0.0.1:0"],
                environment: environment(configuration).merging(nowhere) { first, _ in first }, timeout: .seconds(60))
        }

        /// Returns whether it was killed, rather than done before.
        private static func migrateAndKill(
            _ node: SingleNode, _ configuration: MySQLConfiguration, whenThereAre entries: Int
        ) async throws -> Bool {
            let process = Process()
            process.executableURL = try ApusBinary.locate()
            process.arguments = arguments(node)
            process.environment = environment(configuration)
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            let watcher = try MySQLConnection(configuration, .write)
            try process.run()
            while process.isRunning, try count(watcher) < entries { try await Task.sleep(for: .milliseconds(2)) }
            _ = Foundation.kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            return process.terminationReason == .uncaughtSignal
        }

        private static func hasBegun(_ configuration: MySQLConfiguration) throws -> Bool {
            try MySQLConnection(configuration, .read).integer(
                """
                SELECT COUNT(*) FROM information_schema.tables
                WHERE table_schema = DATABASE() AND table_name = '\(MySQLSchema.unfinishedMigration)'
                """) == 1
        }

        /// -1: there is no such table yet.
        private static func count(_ connection: MySQLConnection) throws -> Int {
            defer { try? connection.run("COMMIT") }
            do {
                return Int(try connection.integer("SELECT COUNT(*) FROM entry") ?? 0)
            } catch let failure as MySQLFailure where failure.code == 1146 {
                return -1
            }
        }
    }
}
#endif
