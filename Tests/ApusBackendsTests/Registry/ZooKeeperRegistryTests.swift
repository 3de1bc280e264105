#if Cluster
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import Foundation
import Testing

@testable import ApusBackends

extension ZooKeeperConfiguration {
    /// The shortest session that the server of the tests grants is 1 s.
    static func fast(_ ports: Int..., root: String = "/apus/test", callTimeout: Duration = .seconds(20)) -> Self {
        Self(
            servers: ports.map { NetworkAddress(host: "127.0.0.1", port: $0) }, root: root, sessionTimeout: .seconds(2),
            callTimeout: callTimeout)
    }
}

@Suite("The registry in ZooKeeper, when things fail")
struct ZooKeeperRegistryTests {
    @Test(
        "A node that is cut off is gone for the others after the session timeout, sees the last nodes itself, and is back when it can connect"
    )
    func cutOff() async throws {
        try await ZooKeeperServer.with { _, port in
            try await Forwarder.with(to: port) { forwarder in
                let near = ZooKeeperRegistry(.fast(port), logger: quiet)
                let far = ZooKeeperRegistry(.fast(forwarder.port), logger: quiet)
                try await running([near, far]) {
                    try await near.register(testNode(1))
                    try await far.register(testNode(2))
                    try await waitForNodes(far, "both") { $0 == [testNode(1), testNode(2)] }
                    await forwarder.cut()
                    try await waitForNodes(near, "the one that is not cut off") { $0 == [testNode(1)] }
                    try await near.register(testNode(1, load: 9))
                    try await waitForNodes(far, "what it knew last") { $0 == [testNode(1), testNode(2)] }
                    try await forwarder.mend()
                    for registry in [near, far] {
                        try await waitForNodes(registry, "both again") { $0 == [testNode(1, load: 9), testNode(2)] }
                    }
                }
            }
        }
    }

    @Test("While the server is gone the last nodes stand and registering fails in time; after its kill -9 and restart all is as wanted")
    func killedServer() async throws {
        try await ZooKeeperServer.with { server, port in
            let first = ZooKeeperRegistry(.fast(port, callTimeout: .seconds(3)), logger: quiet)
            let second = ZooKeeperRegistry(.fast(port), logger: quiet)
            try await running([first, second]) {
                try await first.register(testNode(1))
                try await second.register(testNode(2))
                try await waitForNodes(second, "both") { $0.count == 2 }
                await server.kill()
                let error = await #expect(throws: ApusError.self) { try await first.register(testNode(1, load: 5)) }
                #expect(error?.code == .storeUnavailable)
                try await waitForNodes(second, "the last known") { $0 == [testNode(1), testNode(2)] }
                try await server.start()
                for registry in [first, second] {
                    try await waitForNodes(registry, "both, with what was wanted meanwhile") { $0 == [testNode(1, load: 5), testNode(2)] }
                }
            }
        }
    }

    @Test("After the server slept for longer than the session timeout every node is registered again")
    func pausedServer() async throws {
        try await ZooKeeperServer.with { server, port in
            let first = ZooKeeperRegistry(.fast(port), logger: quiet)
            let second = ZooKeeperRegistry(.fast(port), logger: quiet)
            try await running([first, second]) {
                try await first.register(testNode(1))
                try await second.register(testNode(2))
                try await waitForNodes(second, "both") { $0.count == 2 }
                await server.setPaused(true)
                // Longer than the timeout of 2 s: time itself is what is tested.
                try await Task.sleep(for: .seconds(4))
                await server.setPaused(false)
                try await first.register(testNode(1, load: 7))
                try await waitForNodes(second, "both, the first one renewed") { $0 == [testNode(1, load: 7), testNode(2)] }
            }
        }
    }

    @Test("An ensemble of three loses one server without a node being lost")
    func ensemble() async throws {
        try await ZooKeeperServer.withEnsemble { servers, ports in
            let first = ZooKeeperRegistry(.fast(ports[0], ports[1], ports[2]), logger: quiet)
            let second = ZooKeeperRegistry(.fast(ports[2], ports[1], ports[0]), logger: quiet)
            try await running([first, second]) {
                try await first.register(testNode(1))
                try await second.register(testNode(2))
                try await waitForNodes(second, "both") { $0.count == 2 }
                for (number, server) in servers.enumerated() {
                    await server.kill()
                    try await first.register(testNode(1, load: number + 1))
                    try await waitForNodes(second, "both, with one server gone") { $0 == [testNode(1, load: number + 1), testNode(2)] }
                    try await server.start()
                }
            }
        }
    }

    @Test("A node that somebody removed by hand is registered again; what is no node disturbs nobody")
    func byHand() async throws {
        try await ZooKeeperServer.with { _, port in
            let registry = ZooKeeperRegistry(.fast(port), logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                try await waitForNodes(registry, "the node") { $0 == [testNode(1)] }
                let hand = try await ZooKeeperConnection.open(.fast(port))
                try await hand.delete("/apus/test/nodes/1.1")
                #expect(try await hand.create("/apus/test/nodes/nonsense", Array("{}".utf8), ephemeral: false))
                try await waitUntil("registered again") { try await hand.get("/apus/test/nodes/1.1") != nil }
                try await waitForNodes(registry, "the node alone") { $0 == [testNode(1)] }
                await hand.close()
            }
        }
    }

    @Test("A node that ends orderly is gone at once, not after its session")
    func orderlyEnd() async throws {
        try await ZooKeeperServer.with { _, port in
            var patient = ZooKeeperConfiguration.fast(port)
            patient.sessionTimeout = .seconds(10)
            let configuration = patient
            let watcher = ZooKeeperRegistry(configuration, logger: quiet)
            try await running([watcher]) {
                let leaving = ZooKeeperRegistry(configuration, logger: quiet)
                try await running([leaving]) {
                    try await leaving.register(testNode(1))
                    try await waitForNodes(watcher, "the node") { $0.count == 1 }
                }
                try await waitForNodes(watcher, within: .seconds(5), "nobody") { $0.isEmpty }
            }
        }
    }

    @Test("Without a server registering fails in time, with the reason")
    func noServer() async throws {
        let port = try await MiddlewareProcess.freePort()
        let registry = ZooKeeperRegistry(.fast(port, callTimeout: .seconds(1)), logger: quiet)
        try await running([registry]) {
            let error = await #expect(throws: ApusError.self) { try await registry.register(testNode(1)) }
            #expect(error?.code == .storeUnavailable)
        }
    }
}
#endif
