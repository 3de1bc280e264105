import ApusProtocol
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// Opens a ``Link`` over TCP or WebSocket.
struct Dialer: Sendable {
    /// A message of the server that is longer is refused: it would fill this client's memory.
    static let messageBytesMax = 16 << 20

    let group: any EventLoopGroup
    let timeout: Duration
    let tls: TLSConfiguration

    init(
        group: any EventLoopGroup = .singletonMultiThreadedEventLoopGroup, timeout: Duration,
        tls: TLSConfiguration = .makeClientConfiguration()
    ) {
        self.group = group
        self.timeout = timeout
        self.tls = tls
    }

    /// - Throws: ``ApusError`` `unreachable`, `timed_out`.
    func open(_ address: ServerAddress) async throws -> Link {
        do {
            switch address.carrier {
            case .tcp: return try await openTCP(address)
            case .webSocket(let encoding, let path): return try await openWebSocket(address, encoding, path: path)
            }
        } catch let error as ApusError {
            throw error
        } catch {
            throw ApusError(
                .unreachable, ServerTrust.describe(error, "no connection to \(address.host):\(address.port)"), cause: error)
        }
    }

    /// Nil: the address is not encrypted.
    private func tlsContext(_ address: ServerAddress) throws -> NIOSSLContext? {
        address.isEncrypted ? try NIOSSLContext(configuration: tls) : nil
    }

    private static func addTLS(_ context: NIOSSLContext, _ address: ServerAddress, to channel: any Channel) throws {
        // A name goes into the handshake; an address must not (RFC 6066 section 3).
        let isIP = (try? SocketAddress(ipAddress: address.host, port: 0)) != nil
        try channel.pipeline.syncOperations.addHandler(
            try NIOSSLClientHandler(context: context, serverHostname: isIP ? nil : address.host))
    }

    private func bootstrap() -> ClientBootstrap {
        ClientBootstrap(group: group)
            .connectTimeout(TimeAmount(timeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
    }

    private func openTCP(_ address: ServerAddress) async throws -> Link {
        let tls = try tlsContext(address)
        let channel = try await bootstrap().connect(host: address.host, port: address.port) { channel in
            channel.eventLoop.makeCompletedFuture {
                if let tls { try Self.addTLS(tls, address, to: channel) }
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(ByteToMessageHandler(LengthPrefixHandler(bytesMax: Self.messageBytesMax)))
                try pipeline.addHandler(MessageToByteHandler(LengthPrefixEncoder()))
                try pipeline.addHandler(FrameBatchHandler(encoding: address.encoding))
                return try NIOAsyncChannel<Link.Batch, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        return Link(encoding: address.encoding, channel: channel)
    }

    private typealias Upgraded = NIOAsyncChannel<Link.Batch, ByteBuffer>?

    private struct PendingUpgrade: Sendable {
        var result: EventLoopFuture<Upgraded>
        /// The connect timeout ends with TCP's handshake; this one closes a connection that never gets further.
        var timer: Scheduled<Void>
    }

    private func openWebSocket(_ address: ServerAddress, _ encoding: FrameEncoding, path: String) async throws -> Link {
        let tls = try tlsContext(address)
        let deadline = NIODeadline.now() + TimeAmount(timeout)
        let pending = try await bootstrap().connect(host: address.host, port: address.port) { channel in
            channel.eventLoop.makeCompletedFuture {
                if let tls { try Self.addTLS(tls, address, to: channel) }
                let timer = channel.eventLoop.scheduleTask(deadline: deadline) { channel.close(promise: nil) }
                let result = try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                    configuration: .init(upgradeConfiguration: Self.upgradeConfiguration(address, encoding, path)))
                return PendingUpgrade(result: result, timer: timer)
            }
        }
        let channel: Upgraded
        do {
            channel = try await pending.result.get()
        } catch {
            pending.timer.cancel()
            guard deadline > .now() else {
                throw ApusError(.timedOut, "\(address.host):\(address.port) does not answer the WebSocket handshake", cause: error)
            }
            throw error
        }
        pending.timer.cancel()
        guard let channel else {
            throw ApusError(.unreachable, "\(address.host):\(address.port) refuses the WebSocket upgrade")
        }
        return Link(encoding: encoding, channel: channel)
    }

    private static func upgradeConfiguration(
        _ address: ServerAddress, _ encoding: FrameEncoding, _ path: String
    ) -> NIOTypedHTTPClientUpgradeConfiguration<Upgraded> {
        let upgrader = NIOTypedWebSocketClientUpgrader<Upgraded>(maxFrameSize: messageBytesMax) { channel, head in
            channel.eventLoop.makeCompletedFuture {
                guard head.headers.first(name: "sec-websocket-protocol") == encoding.subprotocol else {
                    throw ApusError(.unreachable, "the server does not speak \(encoding.subprotocol)")
                }
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(WebSocketCarrierHandler(encoding: encoding, bytesMax: messageBytesMax))
                try pipeline.addHandler(FrameBatchHandler(encoding: encoding))
                return try NIOAsyncChannel<Link.Batch, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        let host = address.host.contains(":") ? "[\(address.host)]" : address.host
        let headers: HTTPHeaders = [
            "host": "\(host):\(address.port)", "sec-websocket-protocol": encoding.subprotocol,
        ]
        return NIOTypedHTTPClientUpgradeConfiguration(
            upgradeRequestHead: HTTPRequestHead(version: .http1_1, method: .GET, uri: path, headers: headers), upgraders: [upgrader]
        ) { channel in
            // The server answered with something else than an upgrade.
            channel.close().map { Upgraded.none }.flatMapErrorThrowing { _ in Upgraded.none }
        }
    }
}
