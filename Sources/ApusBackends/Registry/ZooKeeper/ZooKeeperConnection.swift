#if Cluster
import CZooKeeper
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// One handle of the C library, which is one session with the ensemble: it survives lost connections, and ends when the servers have
/// not heard of it for the session timeout. Then another one has to be opened.
final class ZooKeeperConnection: Sendable {
    /// What the library has told since it was last asked: bounded by the number of watches, whatever happens.
    struct News {
        enum Session { case connecting, connected, lost }

        var session: Session?
        /// Nodes whose data, children or existence changed; their watches are used up.
        var paths: Set<String> = []
    }

    /// A call that the ensemble did not carry out, or did not answer.
    struct Failure: Error, CustomStringConvertible {
        var code: ZOO_ERRORS
        var description: String { String(cString: zerror(code.rawValue)) }
    }

    /// What any kind of call is answered with.
    struct Reply: Sendable {
        var code: ZOO_ERRORS
        var data: [UInt8] = []
        var names: [String] = []
        var ephemeralOwner: Int64 = 0
    }

    // The library of several threads takes calls from any thread.
    private struct Handle: @unchecked Sendable { let pointer: OpaquePointer }

    private let inbox: ZooKeeperInbox
    /// Nil once it is closed. Calls are started inside the lock, so that none comes after the close; starting does not wait for anything.
    private let handle: NIOLockedValueBox<Handle?>
    private let loop = MultiThreadedEventLoopGroup.singleton.any()
    private let callTimeout: TimeAmount

    /// Connects in the background; news say when it has.
    /// - Throws: ``Failure`` when the addresses make no sense or their names are not known.
    static func open(_ configuration: ZooKeeperConfiguration) async throws -> ZooKeeperConnection {
        // Looks names up, which blocks.
        try await NIOThreadPool.singleton.runIfActive { try ZooKeeperConnection(configuration) }
    }

    private init(_ configuration: ZooKeeperConfiguration) throws {
        // This code says what matters; by itself the library writes every attempt to connect to standard error.
        zoo_set_debug_level(ZooLogLevel(rawValue: 0))
        inbox = ZooKeeperInbox()
        callTimeout = TimeAmount(configuration.callTimeout)
        let context = Unmanaged.passRetained(inbox)
        let hosts = configuration.servers.map(\.description).joined(separator: ",")
        let timeout = Int32(clamping: configuration.sessionTimeout.components.seconds * 1_000)
        guard
            let pointer = zookeeper_init2(
                hosts, { ZooKeeperInbox.watch($1, $2, $3, $4) }, timeout, nil, context.toOpaque(), ZOO_NO_LOG_CLIENTENV, nil)
        else {
            context.release()
            throw Failure(code: ZBADARGUMENTS)
        }
        handle = NIOLockedValueBox(Handle(pointer: pointer))
    }

    /// Yields when there is news to be taken. For one reader.
    var signals: AsyncStream<Void> { inbox.signals }

    func takeNews() -> News { inbox.take() }

    /// Makes the reader of ``signals`` look.
    func poke() { inbox.poke() }

    /// Ends the session: its ephemeral nodes go at once. Calls under way fail.
    func close() async {
        let closing = handle.withLockedValue { handle in
            defer { handle = nil }
            return handle
        }
        guard let closing else { return }
        let inbox = self.inbox
        // Waits for the farewell to be sent and for the library's threads. Done in any case, also for a task that was cancelled.
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            NIOThreadPool.singleton.submit { _ in
                _ = zookeeper_close(closing.pointer)
                // No callback comes from here on: the reference that the library had.
                Unmanaged.passUnretained(inbox).release()
                done.resume()
            }
        }
        inbox.finish()
    }

    /// The number of the session, by which an ephemeral node knows its owner.
    var sessionID: Int64 { handle.withLockedValue { $0.map { zoo_client_id($0.pointer).pointee.client_id } ?? 0 } }

    // MARK: Calls

    /// Nil when there is no such node; its creation is not watched then.
    func get(_ path: String, watched: Bool = false) async throws -> Reply? {
        let reply = try await call(accepting: ZNONODE) { handle, data in
            zoo_aget(handle, path, watched ? 1 : 0, { ZooKeeperCompletion.data($0, $1, $2, $3, $4) }, data)
        }
        return reply.code == ZOK ? reply : nil
    }

    /// Whether there is such a node. Its creation, change and removal are watched.
    func exists(_ path: String) async throws -> Bool {
        let reply = try await call(accepting: ZNONODE) { handle, data in
            zoo_aexists(handle, path, 1, { ZooKeeperCompletion.stat($0, $1, $2) }, data)
        }
        return reply.code == ZOK
    }

    /// Nil when there is no such node.
    func children(_ path: String, watched: Bool) async throws -> [String]? {
        let reply = try await call(accepting: ZNONODE) { handle, data in
            zoo_aget_children(handle, path, watched ? 1 : 0, { ZooKeeperCompletion.names($0, $1, $2) }, data)
        }
        return reply.code == ZOK ? reply.names : nil
    }

    /// False when there is one already.
    func create(_ path: String, _ bytes: [UInt8], ephemeral: Bool) async throws -> Bool {
        let reply = try await call(accepting: ZNODEEXISTS) { handle, data in
            Self.withOpenAccess { access in
                zoo_acreate(
                    handle, path, bytes.map { CChar(bitPattern: $0) }, Int32(bytes.count), access,
                    ephemeral ? ZOO_EPHEMERAL : ZOO_PERSISTENT, { ZooKeeperCompletion.name($0, $1, $2) }, data)
            }
        }
        return reply.code == ZOK
    }

    /// Nil when there is no such node.
    func set(_ path: String, _ bytes: [UInt8]) async throws -> Reply? {
        let reply = try await call(accepting: ZNONODE) { handle, data in
            zoo_aset(
                handle, path, bytes.map { CChar(bitPattern: $0) }, Int32(bytes.count), -1, { ZooKeeperCompletion.stat($0, $1, $2) }, data)
        }
        return reply.code == ZOK ? reply : nil
    }

    /// Nothing when there is no such node.
    func delete(_ path: String) async throws {
        _ = try await call(accepting: ZNONODE) { handle, data in
            zoo_adelete(handle, path, -1, { ZooKeeperCompletion.nothing($0, $1) }, data)
        }
    }

    private func call(
        accepting code: ZOO_ERRORS, _ start: @Sendable (OpaquePointer, UnsafeRawPointer) -> Int32
    ) async throws -> Reply {
        let promise = loop.makePromise(of: Reply.self)
        let completion = Unmanaged.passRetained(ZooKeeperCompletion(promise))
        let started = handle.withLockedValue { handle in
            // The library answers each call that it took exactly once, at the latest when it is closed.
            handle.map { start($0.pointer, UnsafeRawPointer(completion.toOpaque())) } ?? ZCLOSING.rawValue
        }
        if started != ZOK.rawValue {
            completion.release()
            promise.fail(Failure(code: ZOO_ERRORS(rawValue: started)))
        }
        // An answer that comes after that is for nobody.
        let deadline = loop.scheduleTask(in: callTimeout) { promise.fail(Failure(code: ZOPERATIONTIMEOUT)) }
        defer { deadline.cancel() }
        let reply = try await promise.futureResult.get()
        guard reply.code == ZOK || reply.code == code else { throw Failure(code: reply.code) }
        return reply
    }

    /// Anyone may do anything: a registry is reached by nodes only.
    private static func withOpenAccess(_ body: (UnsafePointer<ACL_vector>) -> Int32) -> Int32 {
        var scheme = Array("world".utf8CString)
        var anyone = Array("anyone".utf8CString)
        return scheme.withUnsafeMutableBufferPointer { scheme in
            anyone.withUnsafeMutableBufferPointer { anyone in
                var entry = ACL(perms: ZOO_PERM_ALL, id: Id(scheme: scheme.baseAddress, id: anyone.baseAddress))
                return withUnsafeMutablePointer(to: &entry) { entry in
                    var access = ACL_vector(count: 1, data: entry)
                    return body(&access)
                }
            }
        }
    }
}

extension ZOO_ERRORS {
    /// Whether the same call may succeed in a moment.
    var isTransient: Bool {
        [ZCONNECTIONLOSS, ZOPERATIONTIMEOUT, ZSESSIONEXPIRED, ZCLOSING, ZINVALIDSTATE, ZSESSIONMOVED, ZTHROTTLEDOP].contains(self)
    }
}
#endif
