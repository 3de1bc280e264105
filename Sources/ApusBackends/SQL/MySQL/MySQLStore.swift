#if Cluster
import ApusCore
import ApusProtocol
import Dispatch

/// The store of a cluster: a MySQL-compatible database that any number of nodes use at the same time. A family of stores over it.
///
/// Durable: what a call has stored when it returns survives kill -9 and power loss of nodes and of the server, which is asked for
/// `innodb_flush_log_at_trx_commit=1` by every new connection.
public final class MySQLStore: Sendable {
    public let accounts: any AccountStore
    public let devices: any DeviceStore
    public let signingKeys: any SigningKeyStore
    public let conversations: any ConversationStore
    public let log: any EntryLog
    public let schedule: any ScheduleStore
    public let nodeLeases: any NodeLeaseStore

    /// A group never has more members than this; for entries from here on.
    public var membersMax: LiveSetting<Int> { appender.membersMax }

    private let driver: MySQLDriver
    private let appender: MySQLAppender

    /// Whether the server answers, takes the user, and has the database, and that holds no half of a migration; nothing is changed.
    /// - Throws: ``StoreOpenError``; with the reason `unreachable` a later try may do better.
    public static func check(_ configuration: MySQLConfiguration) async throws {
        // Connecting blocks.
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            DispatchQueue(label: "apus.store.check").async {
                continuation.resume(
                    with: Result {
                        do {
                            try MySQLMigrator.refuseUnfinishedMigration(try MySQLConnection(configuration, .read), configuration)
                        } catch let failure as MySQLFailure {
                            throw failure.openError(configuration)
                        }
                    })
            }
        }
    }

    /// Connects, and brings the tables forward where another node has not done it yet; makes them in an empty database.
    /// - Throws: ``StoreOpenError``; with the reason `unreachable` a later try may do better.
    public init(configuration: MySQLConfiguration) async throws {
        // The first thing that is asked of the server; it blocks.
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "apus.store.migration").async {
                continuation.resume(with: Result { try MySQLMigrator(configuration: configuration).run() })
            }
        }
        driver = MySQLDriver(configuration)
        appender = MySQLAppender(configuration)
        let log = MySQLEntryLog(driver: driver, appender: appender, configuration: configuration)
        self.log = log
        accounts = SQLAccountStore(driver: driver)
        devices = SQLDeviceStore(driver: driver)
        signingKeys = SQLSigningKeyStore(driver: driver)
        conversations = SQLConversationStore(driver: driver, log: log)
        schedule = SQLScheduleStore(driver: driver) { name, session in try session.entries(named: [name])[name] }
        nodeLeases = SQLNodeLeaseStore(driver: driver)
    }

    /// Whether the database answers now.
    /// - Throws: ``ApusError`` `store_unavailable`.
    public func check() async throws { _ = try await driver.read { try $0.rows("SELECT 1", values: []) } }

    /// Waits for running calls and closes all connections. Every later call fails.
    public func close() async throws {
        try await driver.close()
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "apus.store.close").async {
                self.appender.close()
                continuation.resume()
            }
        }
    }
}
#endif
