import NIOConcurrencyHelpers

/// A value that changes, for any number of watchers: each gets the value as it is, then each later one, or the last one only when it is
/// slow.
public final class LatestValue<Value: Sendable & Equatable>: Sendable {
    private struct State {
        /// Nil until it is known for the first time.
        var value: Value?
        var watchers: [UInt64: AsyncStream<Value>.Continuation] = [:]
        var nextWatcher: UInt64 = 0
    }

    private let state = NIOLockedValueBox(State())

    public init() {}

    /// Tells every watcher, unless nothing changed.
    public func update(_ value: Value) {
        state.withLockedValue { state in
            guard state.value != value else { return }
            state.value = value
            // Inside the lock, so that no watcher gets an older value after a newer one. A yield only puts it into a buffer of one.
            for watcher in state.watchers.values { watcher.yield(value) }
        }
    }

    /// Ends when the watching task is cancelled.
    public func watch() -> AsyncStream<Value> {
        let (stream, continuation) = AsyncStream.makeStream(of: Value.self, bufferingPolicy: .bufferingNewest(1))
        let watcher = state.withLockedValue { state in
            state.nextWatcher += 1
            state.watchers[state.nextWatcher] = continuation
            if let value = state.value { continuation.yield(value) }
            return state.nextWatcher
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLockedValue { _ = $0.watchers.removeValue(forKey: watcher) }
        }
        return stream
    }

    public var hasWatchers: Bool { state.withLockedValue { !$0.watchers.isEmpty } }
}
