#if Cluster
import ApusCore
import ApusProtocol
import CZooKeeper
import Foundation
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// The registry in ZooKeeper: each node is an ephemeral node `<root>/nodes/<number>.<epoch>` whose data is the JSON of its
/// ``NodeInfo``. Nothing comes and goes unless ``run()`` runs.
public final class ZooKeeperRegistry: NodeRegistry, Service {
    private struct Registration {
        /// What is to be registered; nil: nothing.
        var wanted: NodeInfo?
        /// What may be registered in our name.
        var written: Set<NodeID> = []
        /// Whether the last attempt to make the two agree failed.
        var isUnsettled = false
    }

    private let sessions: ZooKeeperSessions
    private let logger: Logger
    private let list = NodeList()
    private let registration = NIOLockedValueBox(Registration())
    private let directory: String

    public init(_ configuration: ZooKeeperConfiguration, logger: Logger) {
        sessions = ZooKeeperSessions(configuration, logger: logger)
        directory = configuration.root + "/nodes"
        self.logger = logger
    }

    /// Keeps the registration and the list of nodes; ends at a graceful shutdown, and with it what this node registered.
    public func run() async {
        await cancelWhenGracefulShutdown {
            let known = NIOLockedValueBox(KnownNodes(directory: self.directory))
            await self.sessions.run { event, connection in
                var nodes = known.withLockedValue { $0 }
                await self.handle(event, connection, &nodes)
                known.withLockedValue { $0 = nodes }
            }
        }
    }

    public func register(_ node: NodeInfo) async throws {
        registration.withLockedValue { $0.wanted = node }
        try await sessions.perform { try await self.settle($0) }
    }

    public func deregister() async throws {
        let isRegistered = registration.withLockedValue { registration in
            registration.wanted = nil
            return !registration.written.isEmpty
        }
        guard isRegistered else { return }
        try await sessions.perform { try await self.settle($0) }
    }

    public func nodes() -> AsyncStream<[NodeInfo]> { list.watch() }

    // MARK: Registration

    /// Makes what is registered what is wanted. May run several times at once: the last one to write looks again afterwards.
    private func settle(_ connection: ZooKeeperConnection) async throws {
        registration.withLockedValue { $0.isUnsettled = true }
        while true {
            let (wanted, written) = registration.withLockedValue { registration in
                if let wanted = registration.wanted { registration.written.insert(wanted.id) }
                return (registration.wanted, registration.written)
            }
            for id in written where id != wanted?.id { try await connection.delete(path(of: id)) }
            if let wanted { try await write(wanted, connection) }
            let isSettled = registration.withLockedValue { registration in
                guard registration.wanted == wanted else { return false }
                registration.written = wanted.map { [$0.id] } ?? []
                registration.isUnsettled = false
                return true
            }
            if isSettled { return }
        }
    }

    private func write(_ node: NodeInfo, _ connection: ZooKeeperConnection) async throws {
        let bytes = [UInt8](try JSONEncoder().encode(node))
        let path = path(of: node.id)
        while true {
            if let there = try await connection.set(path, bytes) {
                if there.ephemeralOwner == connection.sessionID { return }
                // Of a session of ours that the servers have not given up yet: it would go with that one.
                try await connection.delete(path)
            }
            do {
                if try await connection.create(path, bytes, ephemeral: true) { return }
            } catch let failure as ZooKeeperConnection.Failure where failure.code == ZNONODE {
                try await ZooKeeperSessions.makeDirectory(directory, connection)
            }
        }
    }

    private func path(of id: NodeID) -> String { "\(directory)/\(id)" }

    // MARK: The list

    private func handle(_ event: ZooKeeperSessions.Event, _ connection: ZooKeeperConnection, _ nodes: inout KnownNodes) async {
        var mustSettle = registration.withLockedValue(\.isUnsettled)
        switch event {
        case .opened:
            nodes.forgetWatches()
            mustSettle = true
        case .changed(let paths): nodes.noteChanges(paths)
        }
        do {
            if mustSettle { try await settle(connection) }
            guard nodes.isStale else { return }
            try await nodes.read(connection, logger)
            list.update(nodes.infos)
            // Somebody else took it out, by hand for example.
            let missing = registration.withLockedValue { $0.wanted.map { !nodes.contains($0.id) } ?? false }
            if missing { try await settle(connection) }
        } catch {
            // A lost connection: what was known stands, and all that is stale is read when it is back.
            logger.debug("reading the registry failed; trying again", metadata: ["error": "\(error)"])
        }
    }
}

/// What was read of the registered nodes and what of it has to be read again.
private struct KnownNodes {
    private let directory: String
    private var nodes: [String: NodeInfo?] = [:]
    private var staleNames: Set<String> = []
    private var isListStale = true

    init(directory: String) { self.directory = directory }

    var isStale: Bool { isListStale || !staleNames.isEmpty }
    var infos: [NodeInfo] { nodes.values.compactMap { $0 } }
    func contains(_ id: NodeID) -> Bool { nodes[id.description] != nil }

    mutating func forgetWatches() {
        isListStale = true
        staleNames = Set(nodes.keys)
    }

    mutating func noteChanges(_ paths: Set<String>) {
        for path in paths {
            if path == directory {
                isListStale = true
            } else if path.hasPrefix(directory + "/") {
                staleNames.insert(String(path.dropFirst(directory.count + 1)))
            }
        }
    }

    /// Watches what it reads. What could not be read stays stale.
    mutating func read(_ connection: ZooKeeperConnection, _ logger: Logger) async throws {
        if isListStale {
            var names = try await connection.children(directory, watched: true)
            if names == nil {
                try await ZooKeeperSessions.makeDirectory(directory, connection)
                names = try await connection.children(directory, watched: true)
            }
            let present = Set(names ?? [])
            staleNames.formUnion(present.subtracting(nodes.keys))
            staleNames.formIntersection(present)
            nodes = nodes.filter { present.contains($0.key) }
            isListStale = false
        }
        for name in staleNames {
            let path = "\(directory)/\(name)"
            guard let reply = try await connection.get(path, watched: true) else {
                nodes[name] = nil
                staleNames.remove(name)
                continue
            }
            let info = try? JSONDecoder().decode(NodeInfo.self, from: Data(reply.data))
            if info == nil { logger.warning("what is registered here is no node of this version", metadata: ["path": "\(path)"]) }
            // Kept without a value, so that it is not read again and again.
            nodes.updateValue(info, forKey: name)
            staleNames.remove(name)
        }
    }
}
#endif
