#if Cluster
import CZooKeeper
import NIOConcurrencyHelpers
import NIOCore

/// Takes what the library tells on its own thread and keeps it until somebody asks. It only notes: a callback that waits would stop
/// all the others.
final class ZooKeeperInbox: Sendable {
    let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    private let news = NIOLockedValueBox(ZooKeeperConnection.News())

    init() {
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    func take() -> ZooKeeperConnection.News {
        news.withLockedValue { news in
            defer { news = .init() }
            return news
        }
    }

    func poke() { signal.yield() }

    func finish() { signal.finish() }

    /// The library's watcher, for the session and for every node.
    static func watch(_ type: Int32, _ state: Int32, _ path: UnsafePointer<CChar>?, _ context: UnsafeMutableRawPointer?) {
        guard let context else { return }
        let inbox = Unmanaged<ZooKeeperInbox>.fromOpaque(context).takeUnretainedValue()
        let path = path.map { String(cString: $0) } ?? ""
        inbox.news.withLockedValue { news in
            if type != ZOO_SESSION_EVENT {
                news.paths.insert(path)
            } else if state == ZOO_CONNECTED_STATE {
                news.session = .connected
            } else if state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE {
                news.session = .lost
            } else if news.session != .lost {
                news.session = .connecting
            }
        }
        inbox.signal.yield()
    }
}

/// Brings the answer of one call back from the library's thread.
final class ZooKeeperCompletion: Sendable {
    private let promise: EventLoopPromise<ZooKeeperConnection.Reply>

    init(_ promise: EventLoopPromise<ZooKeeperConnection.Reply>) { self.promise = promise }

    /// Once: takes over the reference that was given to the library.
    private static func answer(_ context: UnsafeRawPointer?, _ reply: ZooKeeperConnection.Reply) {
        guard let context else { return }
        Unmanaged<ZooKeeperCompletion>.fromOpaque(context).takeRetainedValue().promise.succeed(reply)
    }

    private static func reply(_ code: Int32, _ stat: UnsafePointer<Stat>? = nil) -> ZooKeeperConnection.Reply {
        var reply = ZooKeeperConnection.Reply(code: ZOO_ERRORS(rawValue: code))
        if code == ZOK.rawValue, let stat { reply.ephemeralOwner = stat.pointee.ephemeralOwner }
        return reply
    }

    static func nothing(_ code: Int32, _ context: UnsafeRawPointer?) { answer(context, reply(code)) }

    static func name(_ code: Int32, _ name: UnsafePointer<CChar>?, _ context: UnsafeRawPointer?) { answer(context, reply(code)) }

    static func stat(_ code: Int32, _ stat: UnsafePointer<Stat>?, _ context: UnsafeRawPointer?) { answer(context, reply(code, stat)) }

    static func data(
        _ code: Int32, _ bytes: UnsafePointer<CChar>?, _ count: Int32, _ stat: UnsafePointer<Stat>?, _ context: UnsafeRawPointer?
    ) {
        var reply = reply(code, stat)
        // A node without data has a count of -1.
        if code == ZOK.rawValue, let bytes, count > 0 { reply.data = Array(UnsafeRawBufferPointer(start: bytes, count: Int(count))) }
        answer(context, reply)
    }

    static func names(_ code: Int32, _ names: UnsafePointer<String_vector>?, _ context: UnsafeRawPointer?) {
        var reply = reply(code)
        if code == ZOK.rawValue, let names {
            let pointers = UnsafeBufferPointer(start: names.pointee.data, count: Int(names.pointee.count))
            reply.names = pointers.compactMap { $0.map { String(cString: $0) } }
        }
        answer(context, reply)
    }
}
#endif
