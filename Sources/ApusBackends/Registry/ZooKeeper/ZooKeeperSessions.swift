#if Cluster
import ApusCore
import ApusProtocol
import CZooKeeper
import Logging
import NIOConcurrencyHelpers

/// Keeps a session with the ensemble: opens another one after each that ended, and tells its owner what happens.
final class ZooKeeperSessions: Sendable {
    let configuration: ZooKeeperConfiguration
    private let logger: Logger
    private let current = NIOLockedValueBox<ZooKeeperConnection?>(nil)
    /// How long to wait before the next try when there is nothing to wait for.
    private static let pause = Duration.milliseconds(100)
    /// How often the owner looks itself, so that what failed for another reason than a lost connection is tried again.
    private static let lookInterval = Duration.seconds(1)

    init(_ configuration: ZooKeeperConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    enum Event {
        /// A new session: nothing is watched, and what was registered in the last one is gone.
        case opened
        /// These nodes changed, and are not watched any more. Also called without any from time to time.
        case changed(Set<String>)
    }

    /// Until the task is cancelled; then the session is ended.
    /// - Parameter handle: one call at a time.
    func run(_ handle: @Sendable (Event, ZooKeeperConnection) async -> Void) async {
        while !Task.isCancelled {
            let connection: ZooKeeperConnection
            do {
                connection = try await ZooKeeperConnection.open(configuration)
            } catch {
                logger.warning("ZooKeeper cannot be used; trying again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.lookInterval)
                continue
            }
            current.withLockedValue { $0 = connection }
            await follow(connection, handle)
            current.withLockedValue { $0 = nil }
            await connection.close()
            // Does nothing when cancelled.
            try? await Task.sleep(for: Self.pause)
        }
    }

    /// Returns when the session is lost or the task is cancelled.
    private func follow(_ connection: ZooKeeperConnection, _ handle: @Sendable (Event, ZooKeeperConnection) async -> Void) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: Self.lookInterval)
                    connection.poke()
                }
            }
            var isOpen = false
            for await _ in connection.signals {
                let news = connection.takeNews()
                if let session = news.session { log(session) }
                if news.session == .lost { break }
                if news.session == .connected, !isOpen {
                    isOpen = true
                    await handle(.opened, connection)
                } else if isOpen {
                    await handle(.changed(news.paths), connection)
                }
            }
            group.cancelAll()
        }
    }

    private func log(_ session: ZooKeeperConnection.News.Session) {
        switch session {
        case .connecting: logger.info("the connection to ZooKeeper is lost; connecting again")
        case .connected: logger.info("connected to ZooKeeper")
        case .lost: logger.warning("the session with ZooKeeper has expired; opening another one")
        }
    }

    /// Makes the owner look now.
    func poke() { current.withLockedValue { $0 }?.poke() }

    /// Does `body`, again when a connection was lost over it, until the call timeout.
    /// - Throws: ``ApusError`` `store_unavailable`.
    func perform<Value: Sendable>(_ body: @Sendable (ZooKeeperConnection) async throws -> Value) async throws -> Value {
        let deadline = ContinuousClock.now + configuration.callTimeout
        var reason: any Error = ZooKeeperConnection.Failure(code: ZCONNECTIONLOSS)
        repeat {
            do {
                if let connection = current.withLockedValue({ $0 }) { return try await body(connection) }
            } catch let failure as ZooKeeperConnection.Failure {
                reason = failure
                guard failure.code.isTransient else { break }
            }
            try await Task.sleep(for: Self.pause)
        } while ContinuousClock.now < deadline
        throw ApusError(.storeUnavailable, "ZooKeeper does not do what it is asked", cause: reason)
    }

    /// Makes a node that stays, and those above it.
    static func makeDirectory(_ path: String, _ connection: ZooKeeperConnection) async throws {
        var prefix = ""
        for name in path.split(separator: "/") {
            prefix += "/\(name)"
            _ = try await connection.create(prefix, [], ephemeral: false)
        }
    }
}
#endif
