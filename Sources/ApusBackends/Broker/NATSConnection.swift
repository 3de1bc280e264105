#if Cluster
import ApusCore
import ApusProtocol
import CNATS
import NIOConcurrencyHelpers

/// A connection of libnats, which makes itself again when it breaks. Publishing does not wait for the server: what is published
/// while there is no connection waits in a bounded buffer.
///
/// Unchecked: the handles are made once and libnats lets any thread use them; nothing else is kept here.
final class NATSConnection: @unchecked Sendable {
    /// What a subscription calls; libnats holds it until its last message is through.
    private final class Handler: Sendable {
        let receive: @Sendable ([UInt8]) -> Void

        init(_ receive: @escaping @Sendable ([UInt8]) -> Void) { self.receive = receive }
    }

    private static let pendingBytesMax: Int32 = 64 << 20
    private static let pendingMessagesMax: Int32 = 65_536

    private let connection: OpaquePointer
    /// Addresses of handles, destroyed with this.
    private let subscriptions = NIOLockedValueBox<[Int]>([])

    /// Blocks for some seconds at most. A server that cannot be reached now is tried again and again.
    /// - Throws: ``ApusError`` `invalid_argument` for a URL or certificate that libnats does not take.
    init(_ configuration: NATSRelay.Configuration, name: String) throws {
        var created: OpaquePointer?
        try Self.check(natsOptions_Create(&created), "options")
        guard let options = created else { throw ApusError(.internal, "libnats gave no options") }
        defer { natsOptions_Destroy(options) }
        try Self.check(natsOptions_SetURL(options, configuration.url), "the URL")
        try Self.check(natsOptions_SetName(options, name), "the name")
        try Self.check(natsOptions_SetNoEcho(options, true), "no echo")
        try Self.check(natsOptions_SetTimeout(options, 2000), "the timeout")
        try Self.check(natsOptions_SetMaxReconnect(options, -1), "reconnecting")
        try Self.check(natsOptions_SetReconnectWait(options, 250), "reconnecting")
        try Self.check(natsOptions_SetReconnectBufSize(options, Int32(configuration.bufferBytesMax)), "the buffer")
        if let file = configuration.trustedCertificates {
            try Self.check(natsOptions_SetSecure(options, true), "TLS")
            try Self.check(natsOptions_LoadCATrustedCertificates(options, file), "the trusted certificates")
        }
        // With a callback the first connection may come later, without one it would be waited for.
        try Self.check(natsOptions_SetRetryOnFailedConnect(options, true, { _, _ in }, nil), "retrying")
        var made: OpaquePointer?
        let status = natsConnection_Connect(&made, options)
        if status != NATS_NOT_YET_CONNECTED { try Self.check(status, "connecting") }
        guard let made else { throw ApusError(.internal, "libnats gave no connection") }
        connection = made
    }

    deinit {
        for subscription in subscriptions.withLockedValue({ $0 }) { natsSubscription_Destroy(OpaquePointer(bitPattern: subscription)) }
        natsConnection_Destroy(connection)
    }

    var isConnected: Bool { natsConnection_Status(connection) == NATS_CONN_STATUS_CONNECTED }

    /// Blocks until the broker knows of all subscriptions, for two seconds at most. One that is away learns of them when it is back.
    func announceSubscriptions() { natsConnection_FlushTimeout(connection, 2000) }

    /// Calls `receive` on a thread of the subscription, in the order of each publisher.
    func subscribe(_ subject: String, _ receive: @escaping @Sendable ([UInt8]) -> Void) throws {
        let handler = Unmanaged.passRetained(Handler(receive))
        var subscription: OpaquePointer?
        let status = natsConnection_Subscribe(
            &subscription, connection, subject,
            { _, _, message, closure in
                defer { natsMsg_Destroy(message) }
                guard let closure else { return }
                let bytes = UnsafeRawBufferPointer(start: natsMsg_GetData(message), count: Int(natsMsg_GetDataLength(message)))
                Unmanaged<Handler>.fromOpaque(closure).takeUnretainedValue().receive(Array(bytes))
            }, handler.toOpaque())
        guard status == NATS_OK, let subscription else {
            handler.release()
            return try Self.check(status, "subscribing")
        }
        subscriptions.withLockedValue { $0.append(Int(bitPattern: subscription)) }
        let onComplete: natsOnCompleteCB = { closure in closure.map { Unmanaged<Handler>.fromOpaque($0).release() } }
        try Self.check(natsSubscription_SetOnCompleteCB(subscription, onComplete, handler.toOpaque()), "the end of a subscription")
        try Self.check(
            natsSubscription_SetPendingLimits(subscription, Self.pendingMessagesMax, Self.pendingBytesMax), "the bound of a subscription")
    }

    /// - Returns: false: it was not taken.
    func publish(_ bytes: [UInt8], to subject: String) -> Bool {
        natsConnection_Publish(connection, subject, bytes, Int32(bytes.count)) == NATS_OK
    }

    /// Blocks until the server has what was published, for a second at most; nothing is published or received afterwards.
    func close() {
        natsConnection_FlushTimeout(connection, 1000)
        natsConnection_Close(connection)
    }

    private static func check(_ status: natsStatus, _ what: String) throws {
        guard status != NATS_OK else { return }
        throw ApusError(.invalidArgument, "NATS, \(what): \(String(cString: natsStatus_GetText(status)))")
    }
}
#endif
