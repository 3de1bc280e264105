import ApusBackends
import ApusCore
import ApusProtocol
import Foundation
import Logging

/// The durable ports of a node, with what stands behind them: chosen here and nowhere else.
struct Stores: Sendable {
    var accounts: any AccountStore
    var devices: any DeviceStore
    var signingKeys: any SigningKeyStore
    var conversations: any ConversationStore
    var log: any EntryLog
    var schedule: any ScheduleStore
    var leases: any NodeLeaseStore
    /// Nil: there is none.
    var objects: (any ObjectStore & MultipartUploads)?
    /// Changes how many members a group may have.
    var setMembersMax: @Sendable (Int) -> Void = { _ in }
    /// Whether the database answers now; nil: it is in this process.
    var check: (@Sendable () async throws -> Void)?
    /// After everything that uses them has stopped.
    var close: @Sendable () async throws -> Void

    static func open(_ configuration: ServerConfiguration) async throws -> Stores {
        var stores = configuration.isCluster ? try await shared(configuration) : try embedded(configuration)
        do {
            guard let objects = try OpenObjects.open(configuration) else { return stores }
            stores.objects = objects.store
            stores.close = { [close = stores.close] in
                try await objects.close()
                try await close()
            }
            return stores
        } catch {
            try await stores.close()
            throw error
        }
    }

    /// SQLite in the data directory, which this process has to itself.
    private static func embedded(_ configuration: ServerConfiguration) throws -> Stores {
        var options = SQLiteStore.Options()
        options.membersMax = configuration.groupMembersMax
        do {
            let store = try SQLiteStore(directory: URL(filePath: configuration.data), options: options)
            return Stores(
                accounts: store.accounts, devices: store.devices, signingKeys: store.signingKeys, conversations: store.conversations,
                log: store.log, schedule: store.schedule, leases: store.nodeLeases, close: { try store.close() })
        } catch {
            throw StartError.store(String(describing: error))
        }
    }

    #if Cluster
    /// The MySQL that all nodes share.
    private static func shared(_ configuration: ServerConfiguration) async throws -> Stores {
        let store: MySQLStore
        do {
            store = try await MySQLStore(configuration: try configuration.storeSettings)
        } catch let error as StoreOpenError {
            guard error.reason == .unreachable else { throw StartError.store(error.description) }
            throw ApusError(.storeUnavailable, "the store cannot be reached", cause: error)
        }
        return Stores(
            accounts: store.accounts, devices: store.devices, signingKeys: store.signingKeys, conversations: store.conversations,
            log: store.log, schedule: store.schedule, leases: store.nodeLeases,
            setMembersMax: { store.membersMax.set($0) }, check: { try await store.check() }, close: { try await store.close() })
    }
    #else
    private static func shared(_ configuration: ServerConfiguration) async throws -> Stores { throw StartError.noCluster }
    #endif
}

extension StartError {
    static var noCluster: Self {
        configuration("this program was built without the back ends of a cluster; build it with: swift build --traits Cluster")
    }
}
