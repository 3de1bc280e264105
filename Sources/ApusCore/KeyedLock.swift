import ApusProtocol
import Collections
import NIOConcurrencyHelpers

/// One at a time per key, in the order of asking, across suspensions. Holds within this process only.
public final class KeyedLock<Key: Hashable & Sendable>: Sendable {
    private struct Waiter {
        var id: UInt64
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        /// A key that is present is held; its waiters.
        var queues: [Key: Deque<Waiter>] = [:]
        var lastID: UInt64 = 0
    }

    private let waitersMax: Int
    private let state = NIOLockedValueBox(State())

    /// - Parameter waitersMax: that may wait for one key.
    public init(waitersMax: Int) { self.waitersMax = waitersMax }

    /// - Throws: ``ApusError`` `overloaded` when too many wait, `CancellationError`, what `body` throws.
    public func withLock<Value: Sendable>(_ key: Key, _ body: () async throws -> Value) async throws -> Value {
        try await acquire(key)
        defer { release(key) }
        return try await body()
    }

    private enum Acquisition {
        case acquired, waits
        case failed(any Error)
    }

    private func acquire(_ key: Key) async throws {
        let id = state.withLockedValue { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let acquisition = state.withLockedValue { state -> Acquisition in
                    // Under the lock: a cancellation is seen either here or by the handler below.
                    guard !Task.isCancelled else { return .failed(CancellationError()) }
                    guard var queue = state.queues[key] else {
                        state.queues[key] = []
                        return .acquired
                    }
                    guard queue.count < waitersMax else {
                        return .failed(ApusError(.overloaded, "too many requests for one account at this moment"))
                    }
                    queue.append(Waiter(id: id, continuation: continuation))
                    state.queues[key] = queue
                    return .waits
                }
                switch acquisition {
                case .acquired: continuation.resume()
                case .failed(let error): continuation.resume(throwing: error)
                case .waits: break
                }
            }
        } onCancel: {
            let waiter = state.withLockedValue { state -> Waiter? in
                guard let index = state.queues[key]?.firstIndex(where: { $0.id == id }) else { return nil }
                return state.queues[key]?.remove(at: index)
            }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }

    private func release(_ key: Key) {
        let next = state.withLockedValue { state -> Waiter? in
            if let next = state.queues[key]?.popFirst() { return next }
            state.queues[key] = nil
            return nil
        }
        next?.continuation.resume()
    }
}
