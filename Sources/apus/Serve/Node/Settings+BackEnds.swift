#if Cluster
import ApusBackends
import ApusCore
import ApusProtocol

/// What the settings of a cluster are to its back ends.
extension ServerConfiguration {
    /// - Throws: ``StartError``.
    var storeSettings: MySQLConfiguration {
        get throws {
            var settings = try Self.setting("cluster.store") { try MySQLConfiguration(url: cluster.store) }
            settings.membersMax = groupMembersMax
            return settings
        }
    }

    /// - Throws: ``StartError``.
    var redisSettings: RedisConfiguration {
        get throws { try Self.setting("cluster.redis") { try RedisConfiguration(url: cluster.redis) } }
    }

    /// - Throws: ``StartError``.
    var registryAddress: RegistryAddress {
        get throws { try Self.setting("cluster.registry") { try RegistryAddress(cluster.registry) } }
    }

    private static func setting<Value>(_ name: String, _ make: () throws -> Value) throws -> Value {
        do {
            return try make()
        } catch let error as ApusError where error.code == .invalidArgument {
            throw StartError.configuration("\(name): \(error.message)")
        }
    }
}
#endif
