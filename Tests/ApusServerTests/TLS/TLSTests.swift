import ApusChaos
import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Testing

@testable import ApusServer

@Suite("TLS", .timeLimit(.minutes(2)))
struct TLSTests {
    private static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    // MARK: The certificate

    @Test("files that cannot be used stop the start")
    func badStart() async throws {
        try await TestCertificate.with { certificate in
            let (chain, key) = (certificate.files.certificateChain, certificate.files.privateKey)
            let other = certificate.path("other.key")
            try FileManager.default.copyItem(atPath: key, toPath: other)
            try await certificate.renew()
            for (chain, key) in [(chain, "/nowhere"), ("/nowhere", key), (key, key), (chain, chain), (chain, other)] {
                let error = #expect(throws: ApusError.self, "\(chain) \(key)") {
                    try TLSCertificate(files: TLSFiles(certificateChain: chain, privateKey: key), logger: Self.quiet)
                }
                #expect(error?.code == .invalidArgument)
            }
        }
    }

    @Test("new files replace the certificate; half of them, or rubbish, leave the old one and one line in the log")
    func reload() async throws {
        try await TestCertificate.with { files in
            let lines = NIOLockedValueBox<[String]>([])
            let certificate = try TLSCertificate(
                files: files.files, logger: Logger(label: "test", factory: { _ in LogCapture(lines: lines) }))
            #expect(try await certificate.reload() == .unchanged)
            try await files.renew()
            #expect(try await certificate.reload() == .replaced)
            #expect(try await certificate.reload() == .unchanged)

            let key = try Data(contentsOf: URL(filePath: files.files.privateKey))
            try await files.renew()
            let newKey = try Data(contentsOf: URL(filePath: files.files.privateKey))
            try key.write(to: URL(filePath: files.files.privateKey))
            #expect(try await certificate.reload() == .refused)
            #expect(try await certificate.reload() == .unchanged)
            try newKey.write(to: URL(filePath: files.files.privateKey))
            #expect(try await certificate.reload() == .replaced)
            #expect(lines.withLockedValue { $0.filter { $0.hasPrefix("error") }.count } == 1)

            try FileManager.default.removeItem(atPath: files.files.privateKey)
            #expect(try await certificate.reload() == .refused)
            try newKey.write(to: URL(filePath: files.files.privateKey))
            #expect(try await certificate.reload() == .unchanged)
        }
    }

    // MARK: HTTPS

    @Test("HTTPS answers, plain HTTP gets nothing, and after a swap the next connection has the new certificate")
    func https() async throws {
        try await TestCertificate.with { files in
            let certificate = try TLSCertificate(files: files.files, interval: .milliseconds(20), logger: Self.quiet)
            let http = HTTPService(
                configuration: HTTPConfiguration(host: "127.0.0.1", port: 0), roles: [], verifier: OneToken(), readiness: Readiness(.ready),
                encryption: .clients(certificate), logger: Self.quiet)
            try await Self.running([http, certificate]) {
                let address = try await http.address.value
                let before = try files.trust()
                #expect(try await Self.health("https://\(address)", before) == 200)
                await #expect(throws: (any Error).self) { try await Self.health("http://\(address)", before) }
                try await files.renew()
                let after = try files.trust()
                // By the service's own look at the files.
                try await Self.eventually { (try? await Self.health("https://\(address)", after)) == 200 }
                await #expect(throws: (any Error).self) { try await Self.health("https://\(address)", before) }
            }
        }
    }

    /// With a client of its own, so that each call is a new connection.
    private static func health(_ url: String, _ trust: TLSConfiguration) async throws -> UInt {
        var configuration = HTTPClient.Configuration(tlsConfiguration: trust)
        configuration.connectionPool.retryConnectionEstablishment = false
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let status: Result<UInt, any Error>
        do {
            status = .success(try await client.execute(HTTPClientRequest(url: "\(url)/healthz"), timeout: .seconds(10)).status.code)
        } catch {
            status = .failure(error)
        }
        try await client.shutdown()
        return try status.get()
    }

    // MARK: The socket

    @Test("a session opens over wss and over TCP with TLS, and lives on when the certificate is swapped")
    func sockets() async throws {
        try await TestCertificate.with { files in
            let certificate = try TLSCertificate(files: files.files, logger: Self.quiet)
            let role = try await Self.socketRole(certificate)
            try await Self.running([role]) {
                let tcp = try await role.tcpAddress.value
                let webSocket = try await role.webSocketAddress.value
                let before = try NIOSSLContext(configuration: try files.trust())
                try await TLSPeer.with(tcp, before) { old in
                    #expect(try await old.helloOverTCP().account == 7)
                    #expect(try await TLSPeer.with(webSocket, before) { try await $0.helloOverWebSocket() }.account == 7)

                    try await files.renew()
                    #expect(try await certificate.reload() == .replaced)
                    let after = try NIOSSLContext(configuration: try files.trust())
                    for address in [tcp, webSocket] {
                        await #expect(throws: (any Error).self) {
                            _ = try await TLSPeer.with(address, before) { try await $0.helloOverTCP() }
                        }
                    }
                    #expect(try await TLSPeer.with(tcp, after) { try await $0.helloOverTCP() }.account == 7)
                    #expect(try await TLSPeer.with(webSocket, after) { try await $0.helloOverWebSocket() }.account == 7)
                    #expect(try await old.isAnsweredOverTCP())
                }
            }
        }
    }

    @Test("a connection that says nothing is closed in time, with TLS and without", arguments: [true, false])
    func silence(isEncrypted: Bool) async throws {
        try await TestCertificate.with { files in
            let certificate = isEncrypted ? try TLSCertificate(files: files.files, logger: Self.quiet) : nil
            let role = try await Self.socketRole(certificate, handshakeSeconds: 1)
            try await Self.running([role]) {
                for address in [try await role.tcpAddress.value, try await role.webSocketAddress.value] {
                    #expect(try await TLSPeer.with(address, nil) { try await $0.isClosedByServer() })
                }
            }
        }
    }

    // MARK: Parts

    private struct OneToken: TokenVerifier {
        func verify(accessToken: String) async throws -> AccessGrant {
            guard accessToken == "token" else { throw ApusError(.unauthenticated, "another token") }
            return AccessGrant(subject: .device(AccountID(7), DeviceID(8)), scopes: [], expiresAt: Timestamp(milliseconds: .max))
        }
    }

    private static func socketRole(_ certificate: TLSCertificate?, handshakeSeconds: Int = 10) async throws -> SocketRole {
        let (store, clock, hub) = (MemoryStore(), SystemClock(), SessionHub())
        let ids = IDGenerator(node: 1, clock: clock)
        let sequencer = Sequencer(log: store, handover: hub, ids: ids, clock: clock, logger: quiet)
        let delivery = Delivery(
            sequencer: sequencer, log: store, conversations: store,
            scheduler: Scheduler(store: store, sequencer: sequencer, ids: ids, clock: clock, logger: quiet),
            marks: MarkBuffer(conversations: store, handover: hub, logger: quiet), handover: hub, clock: clock, rules: SendRules())
        let account = Account(id: AccountID(7), username: "alice", displayName: "Alice", passwordHash: "", createdAt: clock.now)
        try await store.create(account)
        let device = Device(
            id: DeviceID(8), account: account.id, name: "", platform: "", createdAt: clock.now, lastSeenAt: clock.now)
        try await store.create(device, token: RefreshTokenRecord(hash: [1], expiresAt: clock.now + .seconds(60)))
        var configuration = SocketConfiguration(
            webSocket: NetworkAddress(host: "127.0.0.1", port: 0), tcp: NetworkAddress(host: "127.0.0.1", port: 0))
        configuration.handshakeSeconds = handshakeSeconds
        configuration.drainSeconds = 0
        return SocketRole(
            configuration: configuration, hub: hub, delivery: delivery, verifier: OneToken(), devices: store, routes: MemoryRouteTable(),
            node: NodeID(number: 1, epoch: 1), ids: ids, clock: clock, group: .singletonMultiThreadedEventLoopGroup,
            certificate: certificate, logger: quiet)
    }

    private static func running(_ services: [any Service], _ body: () async throws -> Void) async throws {
        let group = ServiceGroup(services: services, logger: quiet)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let result: Result<Void, any Error>
            do {
                result = .success(try await body())
            } catch {
                result = .failure(error)
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            try result.get()
        }
    }

    /// There is no event for the service's next look at its files.
    private static func eventually(_ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while try await !condition() {
            try #require(ContinuousClock.now < deadline, "it did not happen in 20 seconds")
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
