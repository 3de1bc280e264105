import ApusCore
import ApusProtocol
import ApusServer
import Logging
import ServiceLifecycle

/// Where a process listens; nil: its roles have no such listener.
struct Listeners: Sendable {
    var gateway: BoundAddress?
    var http: BoundAddress?
    var socket: BoundAddress?
    var tcp: BoundAddress?
    var peer: BoundAddress?

    /// Waits until all are bound.
    func readyLine() async throws -> ReadyLine {
        ReadyLine(
            gateway: try await gateway?.value.description, http: try await http?.value.description,
            socket: try await socket?.value.description, tcp: try await tcp?.value.description, peer: try await peer?.value.description)
    }
}

/// Says that this process listens, once all of its listeners do, and that it leaves, before any of them stops: to whoever started it, to
/// load balancers, and in a cluster to the other nodes.
struct Announcer: Service {
    let configuration: ServerConfiguration
    let node: NodeID
    let listeners: Listeners
    let registry: (any NodeRegistry)?
    let advertised: AdvertisedAddress
    let readiness: Readiness
    let load: @Sendable () -> Int
    /// Returns when this node can do its work, or the task is cancelled.
    let prepared: @Sendable () async -> Void
    let logger: Logger

    /// Between two reports of the load; a change of it may be this old for the others.
    private static let loadInterval = Duration.seconds(2)

    func run() async throws {
        let line = try await listeners.readyLine()
        if let registry {
            try await takePart(registry) { try ready(line) }
        } else {
            try ready(line)
            try? await gracefulShutdown()
            readiness.set(.draining)
        }
    }

    private func ready(_ line: ReadyLine) throws {
        readiness.set(.ready)
        try line.announce()
    }

    private func takePart(_ registry: any NodeRegistry, ready: () throws -> Void) async throws {
        let info = try await nodeInfo()
        let isRunning = await cancelWhenGracefulShutdown {
            // Before the others send anybody here.
            await prepared()
            await register(info, registry)
            await waitForUpstreams(registry)
            return !Task.isCancelled
        }
        if isRunning { try ready() }
        await cancelWhenGracefulShutdown {
            var info = info
            while (try? await Task.sleep(for: Self.loadInterval)) != nil {
                let load = load()
                guard load != info.load else { continue }
                info.load = load
                do { try await registry.register(info) } catch {
                    // The registry brings it up to date itself once it can be reached.
                    logger.debug("load not reported", metadata: ["error": "\(error)"])
                }
            }
        }
        await leave(info, registry)
    }

    /// Says that this node takes nothing new and waits until the others have heard of it: whoever was sent here until then is still
    /// served. It stays registered, for those who hand over to its sessions; ``Departure`` ends that.
    private func leave(_ info: NodeInfo, _ registry: any NodeRegistry) async {
        readiness.set(.draining)
        var info = info
        info.weight = 0
        do { try await registry.register(info) } catch {
            logger.warning("cannot tell the others that this node leaves", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: .seconds(configuration.drainSeconds) / 4)
    }

    /// A gateway is ready when it has somebody to send requests to.
    private func waitForUpstreams(_ registry: any NodeRegistry) async {
        guard configuration.activeRoles.contains(.gateway) else { return }
        for await nodes in registry.nodes() {
            let missing = Set([Role.auth, .user, .web]).subtracting(nodes.flatMap(\.roles))
            if missing.isEmpty { return }
            logger.info("waiting for nodes of other roles", metadata: ["roles": "\(missing.sorted().map(\.rawValue))"])
        }
    }

    /// Tries until it is done or the task is cancelled.
    private func register(_ info: NodeInfo, _ registry: any NodeRegistry) async {
        while !Task.isCancelled {
            do {
                return try await registry.register(info)
            } catch {
                logger.warning("waiting for the registry", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func nodeInfo() async throws -> NodeInfo {
        var info = NodeInfo(id: node, roles: configuration.activeRoles, version: apusVersion)
        info.http = try await advertised.of(listeners.http, setting: configuration.http.advertise)
        info.peer = try await advertised.of(listeners.peer, setting: configuration.peer.advertise)
        info.gateway = try await advertised.of(listeners.gateway)
        guard let socket = listeners.socket, let tcp = listeners.tcp else { return info }
        let directory = LocalSocketDirectory(publicNode: configuration.publicSocketNode, isEncrypted: configuration.tls.isOn) {
            .init(webSocket: try await socket.value, tcp: try await tcp.value)
        }
        let reached = try await directory.socketNode(for: AccountID(0), requestedHost: nil, avoiding: nil)
        info.socketURL = reached.url
        info.tcp = reached.tcp.flatMap { NetworkAddress($0) }
        info.isTCPEncrypted = reached.isTCPEncrypted
        return info
    }
}

/// Takes this node out of the registry when its sessions are gone.
struct Departure: Service {
    let registry: any NodeRegistry
    let logger: Logger

    func run() async throws {
        try? await gracefulShutdown()
        do { try await registry.deregister() } catch {
            logger.warning("not taken out of the registry; it forgets this node by itself", metadata: ["error": "\(error)"])
        }
    }
}
