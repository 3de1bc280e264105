import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import AsyncHTTPClient
import Foundation
import TestNacos
import Testing

extension NacosConfiguration {
    static func fast(_ servers: NacosServer...) -> Self {
        Self(
            servers: servers.map { NetworkAddress(host: "127.0.0.1", port: $0.port) }, beatInterval: .milliseconds(200),
            pollInterval: .milliseconds(50), callTimeout: .seconds(2))
    }
}

@Suite("The registry in Nacos, when things fail")
struct NacosRegistryTests {
    @Test("A node that beats no more is gone, the others stay")
    func deadNode() async throws {
        try await NacosServer.with { server in
            let watcher = NacosRegistry(.fast(server), logger: quiet)
            try await running([watcher]) {
                try await watcher.register(testNode(1))
                let dying = NacosRegistry(.fast(server), logger: quiet)
                try await running([dying]) {
                    try await dying.register(testNode(2))
                    try await waitForNodes(watcher, "both") { $0.count == 2 }
                }
                try await waitForNodes(watcher, "the one that lives") { $0 == [testNode(1)] }
                #expect(server.requests.contains("PUT /nacos/v1/ns/instance/beat"))
                #expect(!server.requests.contains("DELETE /nacos/v1/ns/instance"))
            }
        }
    }

    @Test("A Nacos that has lost everything knows every node again after a beat")
    func lostRegistrations() async throws {
        try await NacosServer.with { server in
            let registry = NacosRegistry(.fast(server), logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                try await waitForNodes(registry, "the node") { $0 == [testNode(1)] }
                server.forgetInstances()
                try await waitUntil("registered again") { server.instanceCount == 1 }
                try await waitForNodes(registry, "the node again") { $0 == [testNode(1)] }
            }
        }
    }

    @Test("Meanwhile nobody is missing; who does not come back is gone after three beats")
    func knownMeanwhile() async throws {
        try await NacosServer.with { server in
            let registry = NacosRegistry(.fast(server), logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                let dying = NacosRegistry(.fast(server), logger: quiet)
                try await running([dying]) {
                    try await dying.register(testNode(2))
                    try await waitForNodes(registry, "both") { $0 == [testNode(1), testNode(2)] }
                }
                server.forgetInstances()
                let forgotten = ContinuousClock.now
                // From here on: both, and then the one that lives.
                var seen: [[NodeInfo]] = []
                for await nodes in registry.nodes() {
                    seen.append(nodes)
                    if nodes == [testNode(1)] { break }
                }
                #expect(seen == [[testNode(1), testNode(2)], [testNode(1)]])
                #expect(ContinuousClock.now - forgotten >= .milliseconds(500))
            }
        }
    }

    @Test("When a server is gone or answers 503 another one is used")
    func failOver() async throws {
        try await NacosServer.with { spare in
            try await NacosServer.with { main in
                let registry = NacosRegistry(.fast(main, spare), logger: quiet)
                try await running([registry]) {
                    try await registry.register(testNode(1))
                    #expect((main.instanceCount, spare.instanceCount) == (1, 0))
                    main.fail(with: 503)
                    try await registry.register(testNode(1, load: 1))
                    #expect(spare.instanceCount == 1)
                    main.fail(with: nil)
                    spare.fail(with: 503)
                    try await registry.register(testNode(1, load: 2))
                    try await waitForNodes(registry, "the last load") { $0 == [testNode(1, load: 2)] }
                    spare.fail(with: nil)
                    try await main.close()
                    try await registry.register(testNode(1, load: 3))
                    try await waitForNodes(registry, "the load after the first one closed") { $0 == [testNode(1, load: 3)] }
                }
            }
        }
    }

    @Test("While no server answers the last nodes stand and registering fails in time; afterwards all is as wanted")
    func noServer() async throws {
        try await NacosServer.with { server in
            let registry = NacosRegistry(.fast(server), logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                try await waitForNodes(registry, "the node") { $0 == [testNode(1)] }
                server.fail(with: 503)
                let error = await #expect(throws: ApusError.self) { try await registry.register(testNode(1, load: 1)) }
                #expect(error?.code == .storeUnavailable)
                try await waitForNodes(registry, "the last known") { $0 == [testNode(1)] }
                server.fail(with: nil)
                try await waitForNodes(registry, "what was wanted meanwhile") { $0 == [testNode(1, load: 1)] }
            }
        }
    }

    @Test("With a login every call carries a token, and one that has expired is replaced")
    func login() async throws {
        var options = NacosServer.Options()
        options.login = ("apus", "p@ss wörd&=")
        try await NacosServer.with(options) { server in
            var configuration = NacosConfiguration.fast(server)
            configuration.login = .init(username: "apus", password: "p@ss wörd&=")
            let registry = NacosRegistry(configuration, logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                try await waitForNodes(registry, "the node") { $0 == [testNode(1)] }
                server.expireTokens()
                try await registry.register(testNode(1, load: 1))
                try await waitForNodes(registry, "the load after the token expired") { $0 == [testNode(1, load: 1)] }
                #expect(server.loginCount >= 2)
            }
        }
    }

    @Test("A wrong password, and no login where one is needed, are told", arguments: ["wrong", nil])
    func refusedLogin(password: String?) async throws {
        var options = NacosServer.Options()
        options.login = ("apus", "right")
        try await NacosServer.with(options) { server in
            var configuration = NacosConfiguration.fast(server)
            configuration.login = password.map { .init(username: "apus", password: $0) }
            let registry = NacosRegistry(configuration, logger: quiet)
            let error = await #expect(throws: ApusError.self) { try await registry.register(testNode(1)) }
            #expect(error?.code == .forbidden)
            #expect(error?.message.contains("user not found!") == true)
            #expect(error?.message.contains("wrong") == false)
        }
    }

    @Test("Namespaces, groups, clusters and services are worlds of their own; names are what the address says")
    func worlds() async throws {
        try await NacosServer.with { server in
            let address = "127.0.0.1:\(server.port)"
            let texts = [
                "", "?namespace=chat-1", "?group=G", "?cluster=BJ", "?service=other", "?namespace=chat-1&group=G&cluster=BJ&service=other",
            ]
            let registries = try texts.map { text -> NacosRegistry in
                guard case .nacos(var configuration) = try RegistryAddress("nacos://\(address)\(text)") else { throw CancellationError() }
                configuration.pollInterval = .milliseconds(50)
                return NacosRegistry(configuration, logger: quiet)
            }
            try await running(registries) {
                for (number, registry) in registries.enumerated() { try await registry.register(testNode(UInt16(number))) }
                for (number, registry) in registries.enumerated() {
                    try await waitForNodes(registry, "only its own node") { $0 == [testNode(UInt16(number))] }
                }
            }
            let names = Set(server.services.map { "\($0.namespace)/\($0.grouped)" })
            #expect(
                names == [
                    "public/DEFAULT_GROUP@@apus", "chat-1/DEFAULT_GROUP@@apus", "public/G@@apus", "public/DEFAULT_GROUP@@other",
                    "chat-1/G@@other",
                ])
        }
    }

    @Test("A node that somebody disables in the console is not in the list; enabled again, it is there as it is now, not as it was edited")
    func editedInConsole() async throws {
        try await NacosServer.with { server in
            let registry = NacosRegistry(.fast(server), logger: quiet)
            try await running([registry]) {
                try await registry.register(testNode(1))
                try await waitForNodes(registry, "the node") { $0.count == 1 }
                try await switchState(server, enabled: false)
                try await waitForNodes(registry, "nobody") { $0.isEmpty }
                try await registry.register(testNode(1, load: 5))
                let beats = { server.requests.filter { $0.hasSuffix("/beat") }.count }
                let before = beats()
                try await waitUntil("two more beats") { beats() >= before + 2 }
                #expect(server.instances.map(\.isEnabled) == [false])
                try await switchState(server, enabled: true)
                try await waitForNodes(registry, "the load of now") { $0 == [testNode(1, load: 5)] }
                try await registry.register(testNode(1, epoch: 2))
                try await waitForNodes(registry, "the next life") { $0 == [testNode(1, epoch: 2)] }
            }
        }
    }

    /// `console-ui/src/pages/ServiceManagement/ServiceDetail/InstanceTable.js`: sends back all that it shows.
    private func switchState(_ server: NacosServer, enabled: Bool) async throws {
        let instance = try #require(server.instances.first)
        var query = URLComponents()
        query.queryItems = [
            .init(name: "serviceName", value: "apus"), .init(name: "clusterName", value: instance.cluster),
            .init(name: "groupName", value: "DEFAULT_GROUP"), .init(name: "ip", value: instance.ip),
            .init(name: "port", value: "\(instance.port)"), .init(name: "ephemeral", value: "true"),
            .init(name: "weight", value: "\(instance.weight)"), .init(name: "enabled", value: "\(enabled)"),
            .init(name: "metadata", value: String(decoding: try JSONEncoder().encode(instance.metadata), as: UTF8.self)),
        ]
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/nacos/v1/ns/instance?\(query.percentEncodedQuery ?? "")")
        request.method = .PUT
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(5))
        #expect(String(buffer: try await response.body.collect(upTo: 1_024)) == "ok")
    }

    @Test("What Nacos could not keep is refused before it is sent")
    func impossibleNodes() async throws {
        try await NacosServer.with { server in
            let registry = NacosRegistry(.fast(server), logger: quiet)
            var nameless = testNode(1)
            nameless.http = nil
            var large = testNode(1)
            large.socketURL = "ws://" + String(repeating: "x", count: 1_024)
            for node in [nameless, large] {
                let error = await #expect(throws: ApusError.self) { try await registry.register(node) }
                #expect(error?.code == .invalidArgument)
            }
            #expect(server.requests.isEmpty)
        }
    }
}
