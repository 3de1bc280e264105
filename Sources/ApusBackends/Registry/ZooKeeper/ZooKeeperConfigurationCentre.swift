#if Cluster
import ApusCore
import ApusProtocol
import CZooKeeper
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The configuration centre in ZooKeeper: a document is the data of the node `<root>/config/<name>`. Nothing comes unless ``run()`` runs.
public final class ZooKeeperConfigurationCentre: ConfigurationCentre, Service {
    private let sessions: ZooKeeperSessions
    private let logger: Logger
    private let directory: String
    private let watched = NIOLockedValueBox(WatchedDocuments())

    public init(_ configuration: ZooKeeperConfiguration, logger: Logger) {
        sessions = ZooKeeperSessions(configuration, logger: logger)
        directory = configuration.root + "/config"
        self.logger = logger
    }

    /// Reads the documents that are watched; ends at a graceful shutdown.
    public func run() async {
        await cancelWhenGracefulShutdown {
            await self.sessions.run { await self.handle($0, $1) }
        }
    }

    public func text(of name: String) async throws -> String {
        try DocumentName.check(name)
        return try await sessions.perform { connection in
            guard let reply = try await connection.get("\(self.directory)/\(name)") else { return "" }
            return String(decoding: reply.data, as: UTF8.self)
        }
    }

    public func changes(of name: String) -> AsyncStream<String> {
        let stream = watched.withLockedValue { $0.document(name).watch() }
        sessions.poke()
        return stream
    }

    private func handle(_ event: ZooKeeperSessions.Event, _ connection: ZooKeeperConnection) async {
        let stale = watched.withLockedValue { watched in
            switch event {
            case .opened: watched.noteAllChanged()
            case .changed(let paths):
                for path in paths where path.hasPrefix(directory + "/") {
                    watched.noteChange(String(path.dropFirst(directory.count + 1)))
                }
            }
            return watched.stale
        }
        for name in stale {
            do {
                let text = try await read(name, connection)
                watched.withLockedValue { $0.noteRead(name, text) }
            } catch {
                // It stays stale and is read again when the connection is back.
                logger.debug("reading a document failed; trying again", metadata: ["document": "\(name)", "error": "\(error)"])
            }
        }
    }

    private func read(_ name: String, _ connection: ZooKeeperConnection) async throws -> String {
        guard (try? DocumentName.check(name)) != nil else { return "" }
        let path = "\(directory)/\(name)"
        repeat {
            if let reply = try await connection.get(path, watched: true) { return String(decoding: reply.data, as: UTF8.self) }
            // Watches that it is made; if it was made in between, it is read.
        } while try await connection.exists(path)
        return ""
    }
}

/// The documents that somebody watches. One that nobody watches any more is forgotten at the next look.
private struct WatchedDocuments {
    private var documents: [String: LatestValue<String>] = [:]
    private(set) var stale: Set<String> = []

    mutating func document(_ name: String) -> LatestValue<String> {
        if let known = documents[name] { return known }
        let new = LatestValue<String>()
        documents[name] = new
        stale.insert(name)
        return new
    }

    mutating func noteAllChanged() { stale = Set(documents.keys) }

    mutating func noteChange(_ name: String) {
        if documents[name] != nil { stale.insert(name) }
    }

    mutating func noteRead(_ name: String, _ text: String) {
        stale.remove(name)
        guard let document = documents[name] else { return }
        if document.hasWatchers { document.update(text) } else { documents[name] = nil }
    }
}
#endif
