#if Cluster
import ApusProtocol
import NIOConcurrencyHelpers
import NIOPosix

/// ``SQLDriver`` over libmariadb. Its calls block, so they run on threads of their own, one for each connection.
final class MySQLDriver: SQLDriver {
    static let nowMilliseconds = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"

    private let readers: MySQLPool
    private let writers: MySQLPool

    init(_ configuration: MySQLConfiguration) {
        readers = MySQLPool(configuration, .read, size: configuration.readersMax)
        writers = MySQLPool(configuration, .write, size: configuration.writersMax)
    }

    func read<Value: Sendable>(_ body: @escaping @Sendable (MySQLSession) throws -> Value) async throws -> Value {
        try await readers.run { try $0.transaction(body) }
    }

    /// As ``SQLDriver`` promises; `body` may run several times, each time in a new transaction.
    func write<Value: Sendable>(_ body: @escaping @Sendable (MySQLSession) throws -> Value) async throws -> Value {
        try await writers.run { try $0.transaction(body) }
    }

    /// Waits for what is running. Every later call fails.
    func close() async throws {
        try await readers.close()
        try await writers.close()
    }
}

/// A bounded number of connections and as many threads.
private final class MySQLPool: Sendable {
    private struct State {
        var idle: [MySQLSlot]
        var waiting = 0
        var isClosed = false
    }

    private let threads: NIOThreadPool
    private let state: NIOLockedValueBox<State>
    private let waitersMax: Int
    private let waitMax: Duration

    init(_ configuration: MySQLConfiguration, _ use: MySQLConnection.Use, size: Int) {
        state = NIOLockedValueBox(State(idle: (0..<max(1, size)).map { _ in MySQLSlot(configuration, use) }))
        waitersMax = configuration.waitersMax
        waitMax = configuration.waitMax
        threads = NIOThreadPool(numberOfThreads: max(1, size))
        threads.start()
    }

    /// Runs `body` on a thread of the pool. Not given up when the task is cancelled: nobody would know what was stored.
    func run<Value: Sendable>(_ body: @escaping @Sendable (MySQLSlot) throws -> Value) async throws -> Value {
        try enter()
        let latest = ContinuousClock.now + waitMax
        return try await withCheckedThrowingContinuation { continuation in
            threads.submit { work in
                self.state.withLockedValue { $0.waiting -= 1 }
                guard case .active = work else { return continuation.resume(throwing: Self.closed) }
                guard ContinuousClock.now < latest else {
                    return continuation.resume(throwing: ApusError(.storeUnavailable, "no connection to the store became free in time"))
                }
                continuation.resume(with: Result { try self.withSlot(body) })
            }
        }
    }

    func close() async throws {
        let isFirst = state.withLockedValue { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        guard isFirst else { return }
        try await threads.shutdownGracefully()
        let slots = state.withLockedValue { state in
            defer { state.idle = [] }
            return state.idle
        }
        for slot in slots { slot.close() }
    }

    private func enter() throws {
        try state.withLockedValue { state in
            guard !state.isClosed else { throw Self.closed }
            guard state.waiting < waitersMax else { throw ApusError(.storeUnavailable, "too many calls wait for the store") }
            state.waiting += 1
        }
    }

    private func withSlot<Value>(_ body: (MySQLSlot) throws -> Value) throws -> Value {
        // There are as many as threads. The one that was used last comes first, so that the others may get idle.
        guard let slot = state.withLockedValue({ $0.idle.popLast() }) else { throw Self.closed }
        defer { state.withLockedValue { $0.idle.append(slot) } }
        return try body(slot)
    }

    private static var closed: ApusError { ApusError(.storeUnavailable, "the store is closed") }
}
#endif
