#if Cluster
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import Foundation
import Testing

@testable import ApusBackends

/// All that runs over a real MariaDB: one server, a database for each test. One after the other: some of them kill the server.
@Suite(.serialized, .mariaDB) struct MySQLTests {
    /// Empty, made for this test, and dropped afterwards.
    static func withDatabase(_ body: (MySQLConfiguration) async throws -> Void) async throws {
        let server = try #require(MariaDBTrait.server)
        let name = "test_\(UUID().uuidString.prefix(8).lowercased())"
        let admin = try MySQLConfiguration(url: server.url())
        try MySQLConnection(admin, .migration).run("CREATE DATABASE \(name)")
        try await body(try MySQLConfiguration(url: server.url(database: name)))
        try MySQLConnection(admin, .migration).run("DROP DATABASE \(name)")
    }

    /// Over one database for all tests that ask for it this way, emptied before each: to make the tables takes longer than most tests.
    static func withEmptyStore(_ change: (inout MySQLConfiguration) -> Void, _ body: (MySQLStore) async throws -> Void) async throws {
        var configuration = try MySQLConfiguration(url: try #require(MariaDBTrait.server).url())
        change(&configuration)
        let store = try await MySQLStore(configuration: configuration)
        do {
            let connection = try MySQLConnection(configuration, .write)
            let tables = try connection.statement(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            ).rows([]).map { try $0.text(0) }
            for table in tables where !["schema_version", "node_lease"].contains(table) { try connection.run("DELETE FROM \(table)") }
            try connection.run("UPDATE node_lease SET epoch = 0, expires_at = 0, ids_through = 0")
            try connection.run("COMMIT")
            try await body(store)
        } catch {
            try await store.close()
            throw error
        }
        try await store.close()
    }

    static func withStore(
        _ change: (inout MySQLConfiguration) -> Void = { _ in }, _ body: (MySQLStore, MySQLConfiguration) async throws -> Void
    ) async throws {
        try await withDatabase { configuration in
            var configuration = configuration
            change(&configuration)
            let store = try await MySQLStore(configuration: configuration)
            do {
                try await body(store, configuration)
            } catch {
                try await store.close()
                throw error
            }
            try await store.close()
        }
    }
}

/// Starts one server for a suite.
struct MariaDBTrait: SuiteTrait, TestScoping {
    @TaskLocal static var server: MariaDBServer?

    func provideScope(for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void) async throws {
        // No test cuts the power.
        try await MariaDBServer.with(syncsToDisk: false, arguments: ["--skip-ssl"]) { server in
            try await Self.$server.withValue(server) { try await function() }
        }
    }
}

extension Trait where Self == MariaDBTrait {
    static var mariaDB: Self { Self() }
}

extension MySQLStore {
    func set(positionsAreExact: Bool) -> StoreSet {
        StoreSet(
            accounts: accounts, devices: devices, signingKeys: signingKeys, conversations: conversations, log: log, schedule: schedule,
            positionsAreExact: positionsAreExact)
    }
}

// MARK: The conformance kit

extension MySQLTests {
    @Suite struct Conformance {
        enum Mode {
            /// As many nodes use it, with a short `lateCommitMax`.
            case manyWriters
            /// Positions without an overlap are right where one node writes, and exact.
            case oneWriter
            /// Rosters are forgotten at once.
            case withoutCache

            func withStores(_ body: (StoreSet) async throws -> Void) async throws {
                try await MySQLTests.withEmptyStore { configuration in
                    configuration.lateCommitMax = self == .manyWriters ? .milliseconds(200) : .zero
                    if self == .withoutCache { configuration.rosterCacheCost = 0 }
                } _: { store in
                    try await body(store.set(positionsAreExact: self != .manyWriters))
                }
            }
        }

        @Test("accounts", arguments: AccountStoreConformance.cases)
        func accounts(_ promise: ConformanceCase<any AccountStore>) async throws {
            try await Mode.manyWriters.withStores { try await promise.check($0.accounts) }
        }

        @Test("devices and refresh tokens", arguments: DeviceStoreConformance.cases)
        func devices(_ promise: ConformanceCase<any DeviceStore>) async throws {
            try await Mode.manyWriters.withStores { try await promise.check($0.devices) }
        }

        @Test("signing keys", arguments: SigningKeyStoreConformance.cases)
        func signingKeys(_ promise: ConformanceCase<any SigningKeyStore>) async throws {
            try await Mode.manyWriters.withStores { try await promise.check($0.signingKeys) }
        }

        @Test("the log", arguments: [Mode.manyWriters, .withoutCache], EntryLogConformance.cases)
        func entryLog(_ mode: Mode, _ promise: ConformanceCase<StoreSet>) async throws {
            try await mode.withStores { try await promise.check($0) }
        }

        @Test("heads", arguments: [Mode.manyWriters, .oneWriter], HeadConformance.cases)
        func heads(_ mode: Mode, _ promise: ConformanceCase<StoreSet>) async throws {
            try await mode.withStores { try await promise.check($0) }
        }

        @Test("conversations and members", arguments: [Mode.manyWriters, .withoutCache], MembershipConformance.cases)
        func membership(_ mode: Mode, _ promise: ConformanceCase<StoreSet>) async throws {
            try await mode.withStores { try await promise.check($0) }
        }

        @Test("scheduled messages", arguments: ScheduleStoreConformance.cases)
        func schedule(_ promise: ConformanceCase<StoreSet>) async throws {
            try await Mode.manyWriters.withStores { try await promise.check($0) }
        }

        @Test("node leases", arguments: NodeLeaseConformance.cases)
        func nodeLeases(_ promise: ConformanceCase<any NodeLeaseStore>) async throws {
            try await MySQLTests.withEmptyStore { _ in
            } _: { store in
                try await promise.check(store.nodeLeases)
            }
        }
    }
}
#endif
