import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import ApusServer

/// Welcomes everybody and answers nothing more, like a node that was stopped.
final class SilentPeer: Sendable {
    let address: NetworkAddress
    private let channel: any Channel
    private let accepted: NIOLockedValueBox<Int>

    private init(_ channel: any Channel, _ accepted: NIOLockedValueBox<Int>) throws {
        self.channel = channel
        self.accepted = accepted
        address = NetworkAddress(host: "127.0.0.1", port: try #require(channel.localAddress?.port))
    }

    static func listen(as node: NodeID) async throws -> SilentPeer {
        let accepted = NIOLockedValueBox(0)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    accepted.withLockedValue { $0 += 1 }
                    try channel.pipeline.syncOperations.addHandler(Handler(node: node))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return try SilentPeer(channel, accepted)
    }

    var connections: Int { accepted.withLockedValue { $0 } }

    func close() async throws { try await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let node: NodeID
        private var hasGreeted = false

        init(node: NodeID) { self.node = node }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !hasGreeted else { return }
            hasGreeted = true
            var welcome = WirePeerWelcome()
            welcome.node = WirePeerNode(node)
            do {
                let frame = try CarrierKind.tcp.frame(sizeHint: 64) { try WirePeerFrame(.welcome(welcome)).encode(into: &$0) }
                context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
            } catch {
                context.close(promise: nil)
            }
        }
    }
}

/// A certificate for `peer.test`, signed by itself, made for one test.
struct TestCertificate {
    private static let openssl = "/usr/bin/openssl"
    static var isPossible: Bool { FileManager.default.isExecutableFile(atPath: openssl) }

    private let certificate: NIOSSLCertificate
    private let key: NIOSSLPrivateKey

    init() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-peer-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let (keyFile, certificateFile) = (directory.appending(path: "key.pem").path, directory.appending(path: "cert.pem").path)
        let process = Process()
        process.executableURL = URL(filePath: Self.openssl)
        process.arguments =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile]
            + ["-out", certificateFile, "-days", "2", "-subj", "/CN=peer.test", "-addext", "subjectAltName=DNS:peer.test"]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        certificate = try #require(try NIOSSLCertificate.fromPEMFile(certificateFile).first)
        key = try NIOSSLPrivateKey(file: keyFile, format: .pem)
    }

    func tls(trusting: Bool) -> PeerConfiguration.TLS {
        var client = TLSConfiguration.makeClientConfiguration()
        client.trustRoots = .certificates(trusting ? [certificate] : [])
        return .init(
            server: .makeServerConfiguration(certificateChain: [.certificate(certificate)], privateKey: .privateKey(key)), client: client,
            serverName: "peer.test")
    }
}
