import ApusBackends
import ApusCore
import ApusProtocol
import Testing

@Suite("Addresses of registries")
struct RegistryAddressTests {
    @Test("ZooKeeper: several servers, the port and the root have defaults")
    func zooKeeper() throws {
        #expect(
            try RegistryAddress("zookeeper://a:2182,b,[::1]:2183/apus/prod")
                == .zooKeeper(
                    ZooKeeperConfiguration(
                        servers: [.init(host: "a", port: 2182), .init(host: "b", port: 2181), .init(host: "::1", port: 2183)],
                        root: "/apus/prod")))
        #expect(
            try RegistryAddress("zookeeper://zoo")
                == .zooKeeper(ZooKeeperConfiguration(servers: [.init(host: "zoo", port: 2181)], root: "/apus")))
    }

    @Test("Nacos: login, servers, names, context path, TLS")
    func nacos() throws {
        let text = "nacos://apus:p%40ss%3Aw%2F@a:8849,b/registry/?namespace=chat&group=G&cluster=BJ&service=im&tls=true"
        var expected = NacosConfiguration(servers: [.init(host: "a", port: 8849), .init(host: "b", port: 8848)])
        expected.login = .init(username: "apus", password: "p@ss:w/")
        expected.namespace = "chat"
        expected.group = "G"
        expected.cluster = "BJ"
        expected.service = "im"
        expected.usesTLS = true
        expected.contextPath = "/registry"
        #expect(try RegistryAddress(text) == .nacos(expected))
        #expect(
            try RegistryAddress("nacos://a?namespace=public") == .nacos(NacosConfiguration(servers: [.init(host: "a", port: 8848)])))
    }

    @Test(
        "What is no address is refused",
        arguments: [
            "", "zookeeper", "zookeeper://", "zookeeper://a:x/", "zookeeper://a,,b", "zookeeper://a//b", "zookeeper://a/../b",
            "zookeeper://u:p@a", "zookeeper://a?x=1", "consul://a", "nacos://", "nacos://user@a", "nacos://a?grup=x", "nacos://a?tls=yes",
            "nacos://a?group=a%20b", "nacos://a?cluster=a_b", "nacos://a?namespace=a/b", "nacos://a:99999", "nacos://a?group",
        ])
    func refused(text: String) {
        let error = #expect(throws: ApusError.self) { try RegistryAddress(text) }
        #expect(error?.code == .invalidArgument)
    }

    @Test("A password is in no message and no description")
    func secret() throws {
        let error = #expect(throws: ApusError.self) { try RegistryAddress("nacos://apus:sesame@a:x") }
        #expect(error?.description.contains("sesame") == false)
        guard case .nacos(let configuration) = try RegistryAddress("nacos://apus:sesame@a") else { return }
        #expect(!"\(configuration)".contains("sesame"))
    }
}
