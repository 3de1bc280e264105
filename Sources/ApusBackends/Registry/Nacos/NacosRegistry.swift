import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOHTTP1
import ServiceLifecycle

/// The registry in Nacos: every node is an ephemeral instance of one service, whose metadata `node` is the JSON of its ``NodeInfo``.
/// Nothing comes and goes unless ``run()`` runs.
///
/// Follows alibaba/nacos 2.3.2, `naming/src/main/java/com/alibaba/nacos/naming/`: `controllers/InstanceController.java` (register,
/// deregister, beat, list), `core/InstanceOperatorClientImpl.java` (an ephemeral instance is known by its ip and port; a beat for an
/// unknown one is answered with the code 20404), `healthcheck/heartbeat/{Unhealthy,Expired}InstanceChecker.java` (when beats are
/// missed), `utils/ServiceUtil.java` (what a list holds), and `common/…/paramcheck/ParamCheckRule.java` (the length of metadata).
public final class NacosRegistry: NodeRegistry, Service {
    private struct Registration {
        /// What is to be registered; nil: nothing.
        var wanted: NodeInfo?
        /// What may be registered in our name.
        var written: Set<NacosInstance.Key> = []
        /// Whether the last attempt to make the two agree failed.
        var isUnsettled = false
    }

    private let client: NacosClient
    private let configuration: NacosConfiguration
    private let logger: Logger
    private let list = NodeList()
    private let registration = NIOLockedValueBox(Registration())
    private let ownEntry = NIOLockedValueBox(OwnEntry())
    private let memory: NIOLockedValueBox<NacosListMemory>

    public init(_ configuration: NacosConfiguration, http: HTTPClient = .shared, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        client = NacosClient(configuration, http: http)
        memory = NIOLockedValueBox(NacosListMemory(patience: configuration.beatTimeout))
    }

    /// Whether Nacos answers and takes the login.
    /// - Throws: ``ApusError`` `store_unavailable` when no server answers, `forbidden` when the login or the access is refused.
    public static func check(_ configuration: NacosConfiguration, http: HTTPClient = .shared) async throws {
        let client = NacosClient(configuration, http: http)
        _ = try await client.request(.GET, "/v1/ns/instance/list", listQuery(configuration))
    }

    /// Keeps the registration and the list of nodes; ends at a graceful shutdown. What is registered then is given up by Nacos after
    /// some seconds, unless it was deregistered.
    public func run() async {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.repeatedly(self.configuration.beatInterval, "beat") { try await self.beat() } }
                group.addTask { await self.repeatedly(self.configuration.pollInterval, "list") { try await self.poll() } }
            }
        }
    }

    public func register(_ node: NodeInfo) async throws {
        let instance = try NacosInstance(node, configuration)
        registration.withLockedValue { $0.wanted = instance.node }
        try await settle()
    }

    public func deregister() async throws {
        let isRegistered = registration.withLockedValue { registration in
            registration.wanted = nil
            return !registration.written.isEmpty
        }
        if isRegistered { try await settle() }
    }

    public func nodes() -> AsyncStream<[NodeInfo]> { list.watch() }

    /// Logs the first of several failures in a row.
    private func repeatedly(_ interval: Duration, _ what: String, _ body: () async throws -> Void) async {
        var hasFailed = false
        while !Task.isCancelled {
            do {
                try await body()
                if hasFailed { logger.info("Nacos answers again", metadata: ["call": "\(what)"]) }
                hasFailed = false
            } catch {
                if !hasFailed, !Task.isCancelled {
                    logger.warning("Nacos cannot be used; the last known nodes stand", metadata: ["call": "\(what)", "error": "\(error)"])
                }
                hasFailed = true
            }
            try? await Task.sleep(for: interval)
        }
    }

    // MARK: Registration

    /// Makes what is registered what is wanted. May run several times at once: the last one to write looks again afterwards.
    private func settle() async throws {
        registration.withLockedValue { $0.isUnsettled = true }
        while true {
            let wanted = registration.withLockedValue(\.wanted)
            let instance = try wanted.map { try NacosInstance($0, configuration) }
            let written = registration.withLockedValue { registration in
                if let instance { registration.written.insert(instance.key) }
                return registration.written
            }
            for key in written where key != instance?.key { try await call(.DELETE, "/v1/ns/instance", key.parameters) }
            // The same call brings an instance up to date: it replaces what is known of this ip and port.
            if let instance { try await call(.POST, "/v1/ns/instance", instance.parameters()) }
            let isSettled = registration.withLockedValue { registration in
                guard registration.wanted == wanted else { return false }
                registration.written = instance.map { [$0.key] } ?? []
                registration.isUnsettled = false
                return true
            }
            if isSettled { return }
        }
    }

    private func beat() async throws {
        let (wanted, isUnsettled) = registration.withLockedValue { ($0.wanted, $0.isUnsettled) }
        if isUnsettled { return try await settle() }
        guard let wanted else { return }
        // A light beat, without the instance: one that carries it would register what may just have been deregistered.
        let key = try NacosInstance(wanted, configuration).key
        let answer = try await call(.PUT, "/v1/ns/instance/beat", key.parameters)
        struct Reply: Decodable { var code: Int }
        let reply = try decode(Reply.self, answer)
        guard reply.code == Self.resourceNotFound else { return }
        logger.warning("Nacos has lost this node; registering again")
        memory.withLockedValue { $0.holdOn(from: .now) }
        try await settle()
    }

    /// `api/…/api/naming/NamingResponseCode.java`.
    private static let resourceNotFound = 20_404

    // MARK: The list

    private func poll() async throws {
        let answer = try await call(
            .GET, "/v1/ns/instance/list", Self.listQuery(configuration))
        struct Reply: Decodable { var hosts: [NacosInstance.Listed] }
        let hosts = try decode(Reply.self, answer).hosts
        let own = try registration.withLockedValue(\.wanted).map { try NacosInstance($0, configuration) }
        let ownListed = own.flatMap { own in hosts.first { $0.ip == own.key.ip && $0.port == own.key.port } }
        // One that somebody disabled in the console is not in the list: it is not to be used.
        let nodes = memory.withLockedValue {
            $0.nodes(listed: hosts.compactMap(\.node), isOwnListed: ownListed != nil, at: .now)
        }
        list.update(nodes)
        if let own, let ownListed { try await thaw(ownListed, own) }
    }

    private static func listQuery(_ configuration: NacosConfiguration) -> [(String, String)] {
        [
            ("serviceName", configuration.groupedService), ("namespaceId", configuration.namingNamespace),
            ("clusters", configuration.cluster), ("healthyOnly", "true"),
        ]
    }

    /// An edit in the console (also: enabling and disabling) lays the metadata that it showed over the registered ones for good
    /// (`InstanceUtil.updateInstanceMetadata`): others would see the load, and after a restart the epoch, of that moment for ever.
    /// Such an edit can only be changed by another one.
    private func thaw(_ listed: NacosInstance.Listed, _ instance: NacosInstance) async throws {
        let patience = configuration.pollInterval * 5
        let isFrozen = ownEntry.withLockedValue { $0.isFrozen(listed.nodeText, wanted: instance.nodeText, at: .now, patience) }
        guard isFrozen else { return }
        logger.debug("the metadata of this node are frozen by an edit; editing them")
        try await call(.PUT, "/v1/ns/instance", instance.parameters(weight: listed.weight ?? 1))
    }

    // MARK: Calls

    @discardableResult
    private func call(_ method: HTTPMethod, _ path: String, _ parameters: [(String, String)]) async throws -> NacosClient.Answer {
        // In the query also of PUT and POST: not every servlet container reads the form of each.
        let answer = try await client.request(method, path, parameters)
        guard answer.status == .ok else {
            throw ApusError(.internal, "Nacos refuses \(method) \(path): \(answer.status.code) \(answer.text.prefix(300))")
        }
        return answer
    }

    private func decode<Value: Decodable>(_ type: Value.Type, _ answer: NacosClient.Answer) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(answer.text.utf8))
        } catch {
            throw ApusError(.internal, "Nacos answers what is not understood: \(answer.text.prefix(300))", cause: error)
        }
    }
}

/// What the list says of this node, to tell an entry that lags from one that is frozen.
private struct OwnEntry {
    private var text: String?
    private var since = ContinuousClock.now

    mutating func isFrozen(_ listed: String?, wanted: String, at now: ContinuousClock.Instant, _ patience: Duration) -> Bool {
        if listed != text || listed == wanted {
            text = listed
            since = now
        }
        return now - since > patience
    }
}
