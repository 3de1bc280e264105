#if Cluster
import ApusCore
import ApusProtocol
import CNATS
import Foundation
import NIOConcurrencyHelpers

/// A connection of libnats, which makes itself again when it breaks. Publishing does not wait for the server: what is published
/// while there is no connection waits in a bounded buffer.
///
/// Unchecked: the handles are made once and libnats lets any thread use them; nothing else is kept here.
final class NATSConnection: @unchecked Sendable {
    /// What becomes of a connection, on a thread of libnats.
    enum Event: Sendable {
        case connected
        case disconnected(String)
        case failed(String)
        /// For good: libnats has given it up, or it was told to close. The last event.
        case closed(String)
    }

    /// What a subscription calls; libnats holds it until its last message is through.
    private final class Handler: Sendable {
        let receive: @Sendable ([UInt8]) -> Void

        init(_ receive: @escaping @Sendable ([UInt8]) -> Void) { self.receive = receive }
    }

    /// What is told of a connection; libnats holds it until the connection is closed.
    private final class Watcher: Sendable {
        let happened: @Sendable (Event) -> Void

        init(_ happened: @escaping @Sendable (Event) -> Void) { self.happened = happened }

        static func of(_ closure: UnsafeMutableRawPointer?) -> Watcher? {
            closure.map { Unmanaged<Watcher>.fromOpaque($0).takeUnretainedValue() }
        }
    }

    private static let pendingBytesMax: Int32 = 64 << 20
    private static let pendingMessagesMax: Int32 = 65_536

    private let connection: OpaquePointer
    /// Addresses of handles, destroyed with this.
    private let subscriptions = NIOLockedValueBox<[Int]>([])

    /// Blocks for some seconds at most. A server that cannot be reached now is tried again and again.
    /// - Throws: ``ApusError`` `unavailable` when a server refuses this node, or files cannot be used.
    init(_ configuration: NATSRelay.Configuration, name: String, happened: @escaping @Sendable (Event) -> Void) throws {
        var created: OpaquePointer?
        try Self.check(natsOptions_Create(&created), "options")
        guard let options = created else { throw ApusError(.internal, "libnats gave no options") }
        defer { natsOptions_Destroy(options) }
        try Self.set(options, configuration, name: name)
        let watcher = Unmanaged.passRetained(Watcher(happened))
        do {
            try Self.watch(options, watcher.toOpaque())
            var made: OpaquePointer?
            let status = natsConnection_Connect(&made, options)
            if status != NATS_NOT_YET_CONNECTED { try Self.check(status, "connecting") }
            guard let made else { throw ApusError(.internal, "libnats gave no connection") }
            connection = made
        } catch {
            // Of a connection that there never was libnats tells nothing.
            watcher.release()
            throw error
        }
    }

    private static func set(_ options: OpaquePointer, _ configuration: NATSRelay.Configuration, name: String) throws {
        try withCStrings(configuration.servers) { servers in
            try check(natsOptions_SetServers(options, servers, Int32(configuration.servers.count)), "the addresses")
        }
        try check(natsOptions_SetName(options, name), "the name")
        try check(natsOptions_SetNoEcho(options, true), "no echo")
        try check(natsOptions_SetTimeout(options, 2000), "the timeout")
        try check(natsOptions_SetMaxReconnect(options, -1), "reconnecting")
        try check(natsOptions_SetReconnectWait(options, 250), "reconnecting")
        try check(natsOptions_SetReconnectBufSize(options, Int32(configuration.bufferBytesMax)), "the buffer")
        guard configuration.servers.contains(where: { $0.hasPrefix("tls:") }) else { return }
        try check(natsOptions_SetSecure(options, true), "TLS")
        guard let identity = configuration.identity else { return }
        try check(natsOptions_LoadCATrustedCertificates(options, identity.authority), "\(identity.authority)")
        try check(
            natsOptions_LoadCertificatesChain(options, identity.certificate, identity.key), "\(identity.certificate), \(identity.key)")
    }

    private static func watch(_ options: OpaquePointer, _ watcher: UnsafeMutableRawPointer) throws {
        let connected: natsConnectionHandler = { _, closure in Watcher.of(closure)?.happened(.connected) }
        // With a callback the first connection may come later, without one it would be waited for.
        try check(natsOptions_SetRetryOnFailedConnect(options, true, connected, watcher), "retrying")
        try check(natsOptions_SetReconnectedCB(options, connected, watcher), "reconnecting")
        let disconnected: natsConnectionHandler = { Watcher.of($1)?.happened(.disconnected(NATSConnection.lastError($0))) }
        try check(natsOptions_SetDisconnectedCB(options, disconnected, watcher), "reconnecting")
        let failed: natsErrHandler = { connection, _, status, closure in
            Watcher.of(closure)?.happened(.failed(String(cString: natsStatus_GetText(status))))
        }
        try check(natsOptions_SetErrorHandler(options, failed, watcher), "errors")
        let closed: natsConnectionHandler = { connection, closure in
            guard let closure else { return }
            Unmanaged<Watcher>.fromOpaque(closure).takeRetainedValue().happened(.closed(NATSConnection.lastError(connection)))
        }
        try check(natsOptions_SetClosedCB(options, closed, watcher), "the end")
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
        if isConnected { natsConnection_FlushTimeout(connection, 1000) }
        natsConnection_Close(connection)
    }

    private static func lastError(_ connection: OpaquePointer?) -> String {
        var text: UnsafePointer<CChar>?
        natsConnection_GetLastError(connection, &text)
        return text.map { String(cString: $0) } ?? ""
    }

    private static func check(_ status: natsStatus, _ what: String) throws {
        guard status != NATS_OK else { return }
        var last = status
        let detail = nats_GetLastError(&last).map { String(cString: $0) } ?? ""
        throw ApusError(
            .unavailable, "NATS, \(what): \(String(cString: natsStatus_GetText(status)))\(detail.isEmpty ? "" : " (\(detail))")")
    }

    private static func withCStrings(_ texts: [String], _ body: (UnsafeMutablePointer<UnsafePointer<CChar>?>) throws -> Void) throws {
        let copies = texts.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        var pointers = copies.map { UnsafePointer<CChar>($0) }
        try pointers.withUnsafeMutableBufferPointer { pointers in
            guard let base = pointers.baseAddress else { return }
            try body(base)
        }
    }
}
#endif
