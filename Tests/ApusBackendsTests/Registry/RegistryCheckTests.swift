import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import TestNacos
import Testing

@Suite("Registries: whether one can be used") struct RegistryCheckTests {
    /// Nil: it can.
    private func code(_ check: () async throws -> Void) async -> ErrorCode? {
        do {
            try await check()
            return nil
        } catch {
            return (error as? ApusError)?.code ?? .internal
        }
    }

    @Test("Nacos: a server that answers and takes the login; nobody there is another matter than a refusal")
    func nacos() async throws {
        try await NacosServer.with(.init(login: ("apus", "right"))) { server in
            var configuration = NacosConfiguration(
                servers: [NetworkAddress(host: "127.0.0.1", port: server.port)], login: .init(username: "apus", password: "right"))
            var outcomes = [await code { try await NacosRegistry.check(configuration) }]
            configuration.login?.password = "wrong"
            outcomes.append(await code { try await NacosRegistry.check(configuration) })
            configuration.servers = [NetworkAddress(host: "127.0.0.1", port: try await MiddlewareProcess.freePort())]
            outcomes.append(await code { try await NacosRegistry.check(configuration) })
            #expect(outcomes == [nil, .forbidden, .storeUnavailable])
        }
    }

    #if Cluster
    @Test("ZooKeeper: a session within the time")
    func zooKeeper() async throws {
        try await ZooKeeperServer.with { process, port in
            let configuration = ZooKeeperConfiguration(servers: [NetworkAddress(host: "127.0.0.1", port: port)])
            var outcomes = [await code { try await ZooKeeperRegistry.check(configuration, timeout: .seconds(30)) }]
            await process.setPaused(true)
            outcomes.append(await code { try await ZooKeeperRegistry.check(configuration, timeout: .milliseconds(500)) })
            await process.kill()
            outcomes.append(await code { try await ZooKeeperRegistry.check(configuration, timeout: .milliseconds(500)) })
            #expect(outcomes == [nil, .storeUnavailable, .storeUnavailable])
        }
    }
    #endif
}
