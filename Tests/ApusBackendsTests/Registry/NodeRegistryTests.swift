import ApusBackends
import ApusChaos
import ApusCore
import ApusTesting
import TestNacos
import Testing

/// Every registry keeps the same promises.
@Suite struct NodeRegistryTests {
    @Test("the registry in memory", arguments: NodeRegistryConformance.cases)
    func memory(_ promise: ConformanceCase<NodeRegistryTrio>) async throws {
        let directory = MemoryNodeDirectory()
        try await promise.check(
            NodeRegistryTrio(
                MemoryNodeRegistry(directory: directory), MemoryNodeRegistry(directory: directory), MemoryNodeRegistry(directory: directory)
            ))
    }

    @Test("the registry in Nacos", arguments: NodeRegistryConformance.cases)
    func nacos(_ promise: ConformanceCase<NodeRegistryTrio>) async throws {
        try await NacosServer.with { server in
            let registries = (0..<3).map { _ in NacosRegistry(.fast(server), logger: quiet) }
            try await running(registries) {
                try await promise.check(NodeRegistryTrio(registries[0], registries[1], registries[2]))
            }
        }
    }

    #if Cluster
    @Test("the registry in ZooKeeper", arguments: NodeRegistryConformance.cases)
    func zooKeeper(_ promise: ConformanceCase<NodeRegistryTrio>) async throws {
        try await ZooKeeperServer.with { _, port in
            let registries = (0..<3).map { _ in ZooKeeperRegistry(.fast(port), logger: quiet) }
            try await running(registries) {
                try await promise.check(NodeRegistryTrio(registries[0], registries[1], registries[2]))
            }
        }
    }
    #endif
}
