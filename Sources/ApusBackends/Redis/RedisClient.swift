#if Cluster
import ApusCore
import ApusProtocol
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle

/// A client of one Redis server or of a Redis Cluster: one pipelined connection per server, made when it is needed and again when it
/// is lost.
///
/// A command that Redis has not seen waits and is sent when it can be; one whose reply was lost is sent again only if it is
/// idempotent; every call ends by its deadline, whatever happens. Commands of one call to one server are done in their order.
/// All runs on one event loop.
public actor RedisClient {
    private enum Topology {
        case unknown
        case single(NetworkAddress)
        case cluster(RedisSlotMap)
    }

    private nonisolated let eventLoop: any EventLoop
    public nonisolated let configuration: RedisConfiguration
    private let settings: RedisConnection.Settings
    private let makeRandom: @Sendable () -> any RandomNumberGenerator
    private var topology = Topology.unknown
    /// The map is being read; whoever needs it waits for this.
    private var loading: EventLoopPromise<Void>?
    /// A server of the map failed: somebody else may have its slots by now.
    private var isMapDoubtful = false
    private var loadedAt = NIODeadline.uptimeNanoseconds(0)
    private var connections: [NetworkAddress: RedisConnection] = [:]
    private var commandsUnderWay = 0
    private var isClosed = false

    public nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    /// Connects to nobody yet. ``close()`` it in the end.
    /// - Throws: when the certificates of the configuration cannot be read.
    public init(
        configuration: RedisConfiguration, group: any EventLoopGroup, logger: Logger,
        random: @escaping @Sendable () -> any RandomNumberGenerator = { SystemRandomNumberGenerator() }
    ) throws {
        guard !configuration.seeds.isEmpty else { throw ApusError(.invalidArgument, "Redis has no address") }
        eventLoop = group.next()
        self.configuration = configuration
        settings = .init(configuration: configuration, tls: try Self.tlsContext(configuration.security), logger: logger)
        makeRandom = random
        if configuration.topology == .single { topology = .single(configuration.seeds[0]) }
    }

    private static func tlsContext(_ security: RedisConfiguration.Security) throws -> NIOSSLContext? {
        guard case .tls(let authority, let verifies) = security else { return nil }
        var tls = TLSConfiguration.makeClientConfiguration()
        if let authority { tls.trustRoots = .file(authority) }
        if !verifies { tls.certificateVerification = .none }
        return try NIOSSLContext(configuration: tls)
    }

    /// Ends all connections. What is under way fails.
    public func close() {
        isClosed = true
        for connection in connections.values { connection.close() }
        connections = [:]
    }

    // MARK: Commands

    /// - Throws: ``ApusError`` `unavailable` when Redis cannot be reached in time, `internal` for an error of Redis.
    @discardableResult
    public func send(_ command: RedisCommand) async throws -> RESPValue { try await results(of: [command])[0].get() }

    /// One round trip to each server concerned.
    /// - Returns: the replies in the order of the commands.
    /// - Throws: as ``send(_:)-(RedisCommand)``, for the first command that failed; the others are done all the same.
    @discardableResult
    public func send(_ commands: [RedisCommand]) async throws -> [RESPValue] { try await results(of: commands).map { try $0.get() } }

    /// As ``send(_:)-([RedisCommand])``, with the failures of single commands among the results.
    public func results(of commands: [RedisCommand]) async -> [Result<RESPValue, ApusError>] {
        guard commandsUnderWay + commands.count <= configuration.commandsMax else {
            let error = unavailable("too many commands wait")
            return commands.map { _ in .failure(error) }
        }
        commandsUnderWay += commands.count
        defer { commandsUnderWay -= commands.count }
        var exchange = RedisExchange(commands, deadline: .now() + TimeAmount(configuration.commandTimeout))
        while exchange.begin(now: .now()) {
            await attempt(&exchange)
            // What was asked once is asked even by a task that was cancelled, since it may be its last words; but not again.
            if Task.isCancelled { exchange.failRest("the task was cancelled") }
            if let pause = exchange.pause(now: .now()) { try? await Task.sleep(for: pause) }
        }
        return exchange.results.map { $0.mapError { self.apusError($0) } }
    }

    /// All masters of the cluster, each with a key tag (`{…}`) whose slot it has; one with an empty tag when Redis is no cluster.
    /// - Throws: ``ApusError`` `unavailable`.
    func shardTags() async throws -> [NetworkAddress: String] {
        let deadline = NIODeadline.now() + TimeAmount(configuration.commandTimeout)
        if case .unknown = topology { await loadTopology(deadline: deadline) }
        switch topology {
        case .unknown: throw unavailable("no server answers")
        case .single(let address): return [address: ""]
        case .cluster(let map): return map.firstSlots.mapValues { RedisHashSlot.tag(of: $0) }
        }
    }

    private func attempt(_ exchange: inout RedisExchange) async {
        if exchange.wantsTopology || isMapDoubtful || isUnknown { await loadTopology(deadline: exchange.deadline) }
        let batches = exchange.batches { command in self.address(of: command) }
        guard !batches.isEmpty else { return }
        let deadline = exchange.deadline
        let failsFast = isCluster
        let flights = batches.map { batch in
            (batch, connection(to: batch.address).send(batch.commands, deadline: deadline, failsFast: failsFast))
        }
        for (batch, flight) in flights {
            do {
                exchange.take(try await flight.get(), of: batch)
            } catch let error as RedisConnectionError {
                isMapDoubtful = failsFast
                exchange.take(error, of: batch, isCluster: failsFast)
            } catch {
                exchange.take(.lost("\(error)"), of: batch, isCluster: failsFast)
            }
        }
        for (slot, address) in exchange.takeMoves() { learn(slot, address) }
    }

    private func apusError(_ error: RedisExchange.Failure) -> ApusError {
        switch error {
        case .refused(let message): ApusError(.internal, "Redis refused a command: \(message)")
        case .unavailable(let reason): unavailable(reason)
        }
    }

    private nonisolated func unavailable(_ reason: String) -> ApusError {
        ApusError(.unavailable, "Redis cannot be reached at this moment", cause: RedisUnavailable(reason: reason))
    }

    /// Whether one of the configured servers takes us as its client.
    /// - Throws: ``ApusError`` `forbidden` when one refuses user, password or database; `unavailable` when none answers in time.
    public func check() async throws {
        var reasons: [String] = []
        for address in configuration.seeds {
            let deadline = NIODeadline.now() + TimeAmount(configuration.connectTimeout)
            do {
                let reply = try await connection(to: address).send([RedisCommand(["PING"], key: nil)], deadline: deadline, failsFast: true)
                    .get()
                guard case .error(let message)? = reply.first else { return }
                reasons.append("\(address): \(message)")
            } catch {
                reasons.append("\(address): \(error)")
            }
        }
        let reason = RedisUnavailable(reason: reasons.joined(separator: "; "))
        if Self.refusals.contains(where: reason.reason.contains) {
            throw ApusError(.forbidden, "Redis refuses this node", cause: reason)
        }
        throw ApusError(.unavailable, "Redis cannot be reached at this moment", cause: reason)
    }

    /// How Redis begins what it says to a client that it does not take: errors have codes since Redis 6, and some have none.
    private static let refusals = [
        "WRONGPASS ", "NOAUTH ", "NOPERM ", "ERR AUTH ", "ERR invalid password", "ERR DB index", "ERR Client sent AUTH",
    ]

    // MARK: Servers

    private var isUnknown: Bool { if case .unknown = topology { true } else { false } }
    private var isCluster: Bool { if case .cluster = topology { true } else { false } }

    private func address(of command: RedisCommand) -> NetworkAddress? {
        switch topology {
        case .unknown: nil
        case .single(let address): address
        case .cluster(let map): if let key = command.key { map[RedisHashSlot.of(key)] } else { map.firstSlots.keys.first }
        }
    }

    private func learn(_ slot: Int, _ address: NetworkAddress) {
        guard case .cluster(var map) = topology else { return }
        map[slot] = address
        topology = .cluster(map)
    }

    private func connection(to address: NetworkAddress) -> RedisConnection {
        if let connection = connections[address] { return connection }
        let connection = RedisConnection(address, settings: settings, eventLoop: eventLoop, random: makeRandom())
        if isClosed { connection.close() } else { connections[address] = connection }
        return connection
    }

    // MARK: The map

    /// Reads the map, if nobody else is at it and not more often than twice a second. Keeps the old one when nobody answers.
    private func loadTopology(deadline: NIODeadline) async {
        if case .single = topology { return }
        if let loading {
            // It ends by the deadline of whoever reads.
            try? await loading.futureResult.get()
            return
        }
        guard isUnknown || NIODeadline.now() - loadedAt > .milliseconds(500) else { return }
        let promise = eventLoop.makePromise(of: Void.self)
        loading = promise
        await readMap(deadline: deadline)
        loading = nil
        promise.succeed()
    }

    private func readMap(deadline: NIODeadline) async {
        var candidates = configuration.seeds
        if case .cluster(let map) = topology { candidates = map.firstSlots.keys + candidates }
        var random = makeRandom()
        candidates.shuffle(using: &random)
        // A server that hangs is asked last, so that it delays nobody.
        let open = candidates.filter { connections[$0]?.isOpen ?? false }
        candidates = open + candidates.filter { !open.contains($0) }
        for address in candidates where NIODeadline.now() < deadline && !isClosed {
            let limit = min(deadline, .now() + .milliseconds(500))
            let slots = RedisCommand(["CLUSTER", "SLOTS"], key: nil)
            guard let reply = try? await connection(to: address).send([slots], deadline: limit, failsFast: true).get()[0] else { continue }
            if case .error(let message) = reply, configuration.topology == .automatic, message.contains("cluster support disabled") {
                topology = .single(address)
                return
            }
            guard let map = RedisSlotMap(reply, asked: address), !map.firstSlots.isEmpty else {
                settings.logger.warning("no map of the Redis cluster", metadata: ["address": "\(address)", "reply": "\(reply)"])
                continue
            }
            topology = .cluster(map)
            loadedAt = .now()
            isMapDoubtful = false
            forgetServers(but: Set(map.firstSlots.keys))
            return
        }
    }

    /// Servers that left the cluster. What waits for them is sent elsewhere.
    private func forgetServers(but masters: Set<NetworkAddress>) {
        for (address, connection) in connections where !masters.contains(address) && !configuration.seeds.contains(address) {
            connection.close()
            connections[address] = nil
        }
    }
}

extension RedisClient: Service {
    /// Closes the client at a graceful shutdown. It needs no ``run()`` to work; in a service group it stands before whatever uses it.
    public func run() async throws {
        try? await gracefulShutdown()
        close()
    }
}

/// What kept Redis from answering, for logs.
struct RedisUnavailable: Error, CustomStringConvertible {
    var reason: String
    var description: String { reason }
}
#endif
