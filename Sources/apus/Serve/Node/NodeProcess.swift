import ApusCore
import ApusProtocol
import ApusServer
import Logging
import NIOPosix
import ServiceLifecycle

/// One life of a node: waits for the servers that it needs, then does its work until it is told to stop.
struct NodeProcess: Service {
    let configuration: ServerConfiguration
    let loops: MultiThreadedEventLoopGroup
    private let readiness = Readiness()
    private let logger = Logger(label: "apus.start")

    init(_ configuration: ServerConfiguration, loops: MultiThreadedEventLoopGroup) {
        self.configuration = configuration
        self.loops = loops
    }

    /// - Throws: ``StartError`` and what ends a node; what only has to be waited for ends nothing.
    func run() async throws {
        let tls = try NodeTLS(configuration)
        let prerequisites = try Prerequisites(configuration, group: loops)
        guard let node = try await open(prerequisites, tls) else { return }
        try await Self.runAll(node.services.map { .init(service: $0) })
    }

    /// Nil: told to stop before there was a node.
    private func open(_ prerequisites: Prerequisites, _ tls: NodeTLS) async throws -> Node? {
        while true {
            guard try await wait(for: prerequisites, tls) else { return nil }
            do {
                return try await Node(configuration, loops: loops, tls: tls, readiness: readiness)
            } catch let error as ApusError where configuration.isCluster && Self.mayPass(error) {
                // It went away between the check and its first use, or all node numbers are taken for the moment.
                logger.warning("not started; trying again", metadata: ["error": "\(error)"])
                let isGoingOn = await cancelWhenGracefulShutdown { (try? await Task.sleep(for: .seconds(1))) != nil }
                guard isGoingOn else { return nil }
            }
        }
    }

    private static func mayPass(_ error: ApusError) -> Bool { [.storeUnavailable, .unavailable, .overloaded].contains(error.code) }

    // MARK: Waiting

    /// Returns when all is there; false: told to stop.
    private func wait(for prerequisites: Prerequisites, _ tls: NodeTLS) async throws -> Bool {
        guard let missing = try await round(prerequisites) else { return false }
        guard !missing.isEmpty else { return true }
        let waiter = Waiter(prerequisites: prerequisites, first: missing, readiness: readiness, logger: logger)
        // Probes and load balancers are answered meanwhile, where they will ask later.
        try await Self.runAll(
            (tls.services + waitingListeners(tls)).map { .init(service: $0) } + [
                .init(service: waiter, successTerminationBehavior: .gracefullyShutdownGroup)
            ])
        return !Task.isShuttingDownGracefully
    }

    /// Nil: told to stop.
    private func round(_ prerequisites: Prerequisites) async throws -> [String: String]? {
        do {
            return try await cancelWhenGracefulShutdown { try await prerequisites.missing() }
        } catch is CancellationError {
            return nil
        }
    }

    private func waitingListeners(_ tls: NodeTLS) -> [any Service] {
        var listeners: [(HTTPConfiguration, HTTPEncryption)] = []
        if configuration.activeRoles.contains(.gateway), configuration.isCluster {
            listeners.append((configuration.gatewayConfiguration.http, tls.clients.map { .clients($0) } ?? .none))
        }
        if !configuration.isCluster || configuration.activeRoles != [.gateway] {
            listeners.append((configuration.httpConfiguration, tls.http(isCluster: configuration.isCluster)))
        }
        return listeners.map {
            HTTPService(waitingOn: $0, readiness: readiness, encryption: $1, logger: Logger(label: "apus.http"))
        }
    }

    private static func runAll(_ services: [ServiceGroupConfiguration.ServiceConfiguration]) async throws {
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(services: services, logger: Logger(label: "apus.lifecycle")))
        try await group.run()
    }
}

/// Asks again and again until nothing is missing.
private struct Waiter: Service {
    private static let pauseMax = Duration.seconds(2)

    let prerequisites: Prerequisites
    let first: [String: String]
    let readiness: Readiness
    let logger: Logger

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown { try await wait() }
        } catch is CancellationError {
            // Told to stop.
        }
    }

    private func wait() async throws {
        var missing = first
        var log = WaitingLog()
        var pause = Duration.milliseconds(250)
        while !missing.isEmpty {
            let names = Set(missing.keys)
            readiness.set(Readiness.Missing(needed: names))
            if log.isDue(names, at: .now) {
                logger.warning(
                    "waiting for \(names.sorted().joined(separator: ", ")); the node starts when it can use them",
                    metadata: missing.mapValues { "\($0)" })
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, Self.pauseMax)
            missing = try await prerequisites.missing()
        }
        readiness.set(Readiness.Missing())
        logger.notice("all that the node needs is there")
    }
}
