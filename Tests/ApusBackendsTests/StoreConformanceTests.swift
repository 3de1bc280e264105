import ApusBackends
import ApusCore
import ApusTesting
import Testing

/// Every implementation of the stores keeps the same promises.
@Suite struct StoreConformanceTests {
    enum Implementation: String, CaseIterable, Sendable {
        case memory
        case sqlite
        /// Entries move from the commit log to the tables for reading at every chance.
        case sqliteFlushingAtOnce
        /// States of conversations are forgotten at once.
        case sqliteWithoutCache

        func withStores(_ body: (StoreSet) async throws -> Void) async throws {
            var options = SQLiteStore.Options()
            switch self {
            case .memory:
                let store = MemoryStore()
                return try await body(
                    StoreSet(
                        accounts: store, devices: store, signingKeys: store, conversations: store, log: store, schedule: store))
            case .sqlite: break
            case .sqliteFlushingAtOnce:
                options.recentEntriesMin = 1
                options.flushSliceMin = 1
            case .sqliteWithoutCache: options.conversationCacheCost = 0
            }
            try await withTemporaryDirectory { directory in
                let store = try SQLiteStore(directory: directory, options: options)
                try await body(store.set)
                try store.close()
            }
        }
    }

    @Test("accounts", arguments: Implementation.allCases, AccountStoreConformance.cases)
    func accounts(_ implementation: Implementation, _ promise: ConformanceCase<any AccountStore>) async throws {
        try await implementation.withStores { try await promise.check($0.accounts) }
    }

    @Test("devices and refresh tokens", arguments: Implementation.allCases, DeviceStoreConformance.cases)
    func devices(_ implementation: Implementation, _ promise: ConformanceCase<any DeviceStore>) async throws {
        try await implementation.withStores { try await promise.check($0.devices) }
    }

    @Test("signing keys", arguments: Implementation.allCases, SigningKeyStoreConformance.cases)
    func signingKeys(_ implementation: Implementation, _ promise: ConformanceCase<any SigningKeyStore>) async throws {
        try await implementation.withStores { try await promise.check($0.signingKeys) }
    }

    @Test("the log", arguments: Implementation.allCases, EntryLogConformance.cases)
    func entryLog(_ implementation: Implementation, _ promise: ConformanceCase<StoreSet>) async throws {
        try await implementation.withStores { try await promise.check($0) }
    }

    @Test("heads", arguments: Implementation.allCases, HeadConformance.cases)
    func heads(_ implementation: Implementation, _ promise: ConformanceCase<StoreSet>) async throws {
        try await implementation.withStores { try await promise.check($0) }
    }

    @Test("conversations and members", arguments: Implementation.allCases, MembershipConformance.cases)
    func membership(_ implementation: Implementation, _ promise: ConformanceCase<StoreSet>) async throws {
        try await implementation.withStores { try await promise.check($0) }
    }

    @Test("scheduled messages", arguments: Implementation.allCases, ScheduleStoreConformance.cases)
    func schedule(_ implementation: Implementation, _ promise: ConformanceCase<StoreSet>) async throws {
        try await implementation.withStores { try await promise.check($0) }
    }

    @Test("node leases in memory", arguments: NodeLeaseConformance.cases)
    func nodeLeasesInMemory(_ promise: ConformanceCase<any NodeLeaseStore>) async throws {
        try await promise.check(MemoryNodeLeaseStore())
    }

    @Test("node leases in SQLite", arguments: NodeLeaseConformance.cases)
    func nodeLeasesInSQLite(_ promise: ConformanceCase<any NodeLeaseStore>) async throws {
        try await withTemporaryDirectory { directory in
            let store = try SQLiteStore(directory: directory)
            try await promise.check(store.nodeLeases)
            try store.close()
        }
    }

    @Test("routes in memory", arguments: RouteTableConformance.cases)
    func routes(_ promise: ConformanceCase<any RouteTable>) async throws {
        try await promise.check(MemoryRouteTable())
    }
}
