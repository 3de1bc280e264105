import ApusChaos
import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOPosix
import NIOSSL
import Testing

@testable import ApusServer

@Suite("TLS between nodes", .timeLimit(.minutes(2)))
struct ClusterTLSTests {
    private static let left = NodeID(number: 1, epoch: 5)
    private static let right = NodeID(number: 2, epoch: 9)
    private static let loopback = NetworkAddress(host: "127.0.0.1", port: 0)

    // MARK: The peer link

    private func relay(
        _ node: NodeID, _ certificate: ClusterCertificate?, _ registry: FakeRegistry, _ tokens: any PeerTokenSource = FakeTokens()
    ) -> PeerRelay {
        var configuration = PeerConfiguration(listen: Self.loopback, certificate: certificate)
        configuration.retryMillisecondsMax = 50
        return PeerRelay(
            configuration: configuration, node: node, registry: registry, tokens: tokens, group: MultiThreadedEventLoopGroup.singleton,
            logger: quietLogger)
    }

    private func listener(_ certificate: ClusterCertificate?, _ receiver: FakeReceiver) -> PeerListener {
        PeerListener(
            configuration: PeerConfiguration(listen: Self.loopback, certificate: certificate), node: Self.right, verifier: FakeVerifier(),
            receiver: receiver, group: MultiThreadedEventLoopGroup.singleton, logger: quietLogger)
    }

    @Test("Nodes of one authority are linked; strangers, and who shows no certificate, get no link, whatever token they have")
    func link() async throws {
        try await TestCluster.with { cluster in
            let (registry, receiver) = (FakeRegistry(), FakeReceiver())
            let listener = listener(try await cluster.node("right"), receiver)
            let node = relay(Self.left, try await cluster.node("left"), registry)
            let tries = [CountingTokens(), CountingTokens()]
            let outsiders = [
                relay(NodeID(number: 3, epoch: 1), try await cluster.stranger(), registry, tries[0]),
                relay(NodeID(number: 4, epoch: 1), nil, registry, tries[1]),
            ]
            try await running([listener, node] + outsiders) {
                registry.set([socketNode(Self.right, try await listener.address.value)])
                try await eventually { node.openPeers == [Self.right] }
                node.send([relayed(1)], to: Self.right)
                #expect(await receiver.next(1) == ["1.5/1"])
                // They tried, failed, and tried again.
                for count in tries { try await eventually { await count.count >= 3 } }
                #expect(outsiders.allSatisfy { $0.openPeers.isEmpty })
            }
        }
    }

    @Test("A node links to none that shows a stranger's certificate or none")
    func falseListener() async throws {
        try await TestCluster.with { cluster in
            for certificate in [try await cluster.stranger(), nil] {
                let registry = FakeRegistry()
                let listener = listener(certificate, FakeReceiver())
                let tokens = CountingTokens()
                let node = relay(Self.left, try await cluster.node("left"), registry, tokens)
                try await running([listener, node]) {
                    registry.set([socketNode(Self.right, try await listener.address.value)])
                    try await eventually { await tokens.count >= 3 }
                    #expect(node.openPeers.isEmpty)
                }
            }
        }
    }

    @Test("Certificates of a new authority take the place of the old ones without a restart; the old ones are worth nothing then")
    func renewal() async throws {
        try await TestCluster.with { cluster in
            let registry = FakeRegistry()
            let files = try await cluster.ours.issue("left")
            let (before, there) = (try cluster.read(files), try await cluster.node("right"))
            try await cluster.change(["left", "right"])
            #expect(try await there.reload() == .replaced)
            let tokens = CountingTokens()
            let old = relay(NodeID(number: 3, epoch: 1), before, registry, tokens)
            let new = relay(Self.left, try cluster.read(files), registry)
            let listener = listener(there, FakeReceiver())
            try await running([listener, old, new]) {
                registry.set([socketNode(Self.right, try await listener.address.value)])
                try await eventually { new.openPeers == [Self.right] }
                try await eventually { await tokens.count >= 3 }
                #expect(old.openPeers.isEmpty)
                #expect(try await before.reload() == .replaced)
                try await eventually { old.openPeers == [Self.right] }
            }
        }
    }

    // MARK: HTTP

    @Test("A node's HTTP answers nodes; others it tells its health and nothing else")
    func http() async throws {
        try await TestCluster.with { cluster in
            let http = HTTPService(
                configuration: HTTPConfiguration(host: "127.0.0.1", port: 0), roles: [Hello()], verifier: FakeVerifier(),
                readiness: Readiness(.ready), encryption: .nodes(try await cluster.node("right")), logger: quietLogger)
            let node = try await cluster.node("left").clientConfiguration
            let stranger = try await cluster.stranger().clientConfiguration
            let nobody = Self.withoutCertificate(trusting: cluster.ours)
            try await running([http]) {
                let url = "https://\(try await http.address.value)"
                #expect(try await Self.status("\(url)/v1/hello", node) == 200)
                #expect(try await Self.status("\(url)/v1/hello", nobody) == 403)
                #expect(try await Self.status("\(url)/healthz", nobody) == 200)
                #expect(try await Self.status("\(url)/readyz", nobody) == 200)
                for path in ["/healthz/", "/healthz/../v1/hello", "/v1/hello?/healthz", "//healthz"] {
                    #expect(try await Self.status(url + path, nobody) == 403, "\(path)")
                }
                await #expect(throws: (any Error).self) { try await Self.status("\(url)/healthz", stranger) }
                await #expect(throws: (any Error).self) {
                    try await Self.status("http://\(try await http.address.value)/healthz", nobody)
                }
            }
        }
    }

    private struct Hello: HTTPRole {
        func addRoutes(to routes: HTTPRoutes) {
            routes.on(.get, "/v1/hello", for: .anybody) { _, _ in .init(status: .ok) }
        }
    }

    private static func withoutCertificate(trusting authority: CertificateAuthority) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(authority.certificate)
        return configuration
    }

    private static func status(_ url: String, _ tls: TLSConfiguration) async throws -> UInt {
        var request = HTTPClientRequest(url: url)
        request.tlsConfiguration = tls
        return try await HTTPClient.shared.execute(request, timeout: .seconds(10)).status.code
    }
}

private actor CountingTokens: PeerTokenSource {
    private(set) var count = 0

    func accessToken() async throws -> String {
        count += 1
        return "internal"
    }

    func refused(_ accessToken: String) async {}
}
