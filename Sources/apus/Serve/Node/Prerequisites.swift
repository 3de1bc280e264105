import ApusBackends
import ApusCore
import ApusProtocol
import Logging
import NIOCore

/// A server that a node needs and that somebody else runs.
struct Prerequisite: Sendable {
    /// As people know it: `mysql`.
    var name: String
    /// Whether it can be used; ends within some seconds.
    /// - Throws: ``StartError`` when waiting does not help, anything else when it may.
    var check: @Sendable () async throws -> Void
}

/// All of them that a node of this configuration needs before it can begin.
struct Prerequisites: Sendable {
    private let all: [Prerequisite]

    init(_ all: [Prerequisite]) { self.all = all }

    /// - Throws: ``StartError`` for settings that cannot be meant.
    init(_ configuration: ServerConfiguration, group: any EventLoopGroup) throws {
        var all = configuration.isCluster ? try Self.cluster(configuration, group) : []
        if let objects = try ObjectsSettings(configuration) { all.append(Prerequisite(name: "objects", check: objects.check)) }
        self.init(all)
    }

    /// Asks all of them at once.
    /// - Returns: those that cannot be used at this moment, and why.
    /// - Throws: ``StartError``; `CancellationError`.
    func missing() async throws -> [String: String] {
        try await withThrowingTaskGroup(of: (String, String)?.self) { group in
            for prerequisite in all {
                group.addTask {
                    do {
                        try await prerequisite.check()
                        return nil
                    } catch let error as StartError {
                        throw error
                    } catch {
                        try Task.checkCancellation()
                        return (prerequisite.name, "\(error)")
                    }
                }
            }
            return try await group.reduce(into: [:]) { missing, found in
                if let (name, reason) = found { missing[name] = reason }
            }
        }
    }

    #if Cluster
    private static func cluster(_ configuration: ServerConfiguration, _ group: any EventLoopGroup) throws -> [Prerequisite] {
        let store = try configuration.storeSettings
        let redis = try configuration.redisSettings
        let registry = try configuration.registryAddress
        return [
            Prerequisite(name: "mysql") {
                do {
                    try await MySQLStore.check(store)
                } catch let error as StoreOpenError where error.reason != .unreachable {
                    throw StartError.store(error.description)
                }
            },
            Prerequisite(name: "redis") {
                let client = try RedisClient(configuration: redis, group: group, logger: Logger(label: "apus.redis"))
                let result = await Result { try await client.check() }
                await client.close()
                try result.endingStart(of: "cluster.redis")
            },
            Prerequisite(name: "registry") {
                switch registry {
                case .zooKeeper(let configuration): try await ZooKeeperRegistry.check(configuration)
                case .nacos(let configuration):
                    try await Result { try await NacosRegistry.check(configuration) }.endingStart(of: "cluster.registry")
                }
            },
        ]
    }
    #else
    private static func cluster(_ configuration: ServerConfiguration, _ group: any EventLoopGroup) throws -> [Prerequisite] {
        throw StartError.noCluster
    }
    #endif
}

extension Result<Void, any Error> {
    init(_ body: () async throws -> Void) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }

    /// Throws a refusal as what ends the start: the setting is wrong, and waiting does not make it right.
    func endingStart(of setting: String) throws {
        do {
            try get()
        } catch let error as ApusError where error.code == .forbidden {
            throw StartError.configuration("\(setting): \(error)")
        }
    }
}

/// When to say again that something is missing: at once when it is something else than before, else after pauses that grow.
struct WaitingLog {
    private static let firstPause = Duration.seconds(5)
    private static let pauseMax = Duration.seconds(300)

    private var names: Set<String> = []
    private var pause = firstPause
    private var nextAt: ContinuousClock.Instant?

    mutating func isDue(_ missing: Set<String>, at now: ContinuousClock.Instant) -> Bool {
        if missing == names, let nextAt {
            guard now >= nextAt else { return false }
            pause = min(pause * 2, Self.pauseMax)
        } else {
            pause = Self.firstPause
        }
        names = missing
        nextAt = now + pause
        return true
    }
}
