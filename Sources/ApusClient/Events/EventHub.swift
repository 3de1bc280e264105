import NIOConcurrencyHelpers
import NIOCore

/// The events of a ``Client`` for one consumer, from the moment ``Client/events()`` was called. Ends when the client is closed.
///
/// Bounded: a consumer that falls behind by more than ``ClientConfiguration/eventBufferMax`` gets what was buffered, then
/// ``ClientEvent/missedEvents`` in place of what was dropped, then events from that moment on.
public struct ClientEvents: AsyncSequence, Sendable {
    public typealias Element = ClientEvent

    let buffer: EventBuffer

    public func makeAsyncIterator() -> Iterator { Iterator(buffer: buffer) }

    public struct Iterator: AsyncIteratorProtocol {
        let buffer: EventBuffer

        public mutating func next() async -> ClientEvent? { await buffer.next() }
    }
}

/// Hands every event to every consumer.
final class EventHub: Sendable {
    private struct Consumer {
        weak var buffer: EventBuffer?
    }

    private struct State {
        var consumers: [Consumer] = []
        var finished = false
    }

    private let capacity: Int
    private let state = NIOLockedValueBox(State())

    init(capacity: Int) { self.capacity = capacity }

    func subscribe() -> ClientEvents {
        let buffer = EventBuffer(capacity: capacity)
        let finished = state.withLockedValue { state in
            state.consumers.removeAll { $0.buffer == nil }
            if !state.finished { state.consumers.append(Consumer(buffer: buffer)) }
            return state.finished
        }
        if finished { buffer.finish() }
        return ClientEvents(buffer: buffer)
    }

    func emit(_ event: ClientEvent) {
        for buffer in buffers() { buffer.offer(event) }
    }

    func finish() {
        state.withLockedValue { $0.finished = true }
        for buffer in buffers() { buffer.finish() }
    }

    private func buffers() -> [EventBuffer] {
        state.withLockedValue { $0.consumers.compactMap(\.buffer) }
    }
}

/// The bounded queue between the client and one consumer.
final class EventBuffer: Sendable {
    fileprivate struct State {
        var events: CircularBuffer<ClientEvent> = []
        var overflowed = false
        var finished = false
        var waiter: (id: UInt64, continuation: CheckedContinuation<ClientEvent?, Never>)?
        var waiters: UInt64 = 0
    }

    fileprivate enum Next {
        case ready(ClientEvent?)
        case wait
    }

    private let capacity: Int
    private let state = NIOLockedValueBox(State())

    init(capacity: Int) { self.capacity = Swift.max(1, capacity) }

    func offer(_ event: ClientEvent) {
        let waiter = state.withLockedValue { state -> CheckedContinuation<ClientEvent?, Never>? in
            if let waiter = state.waiter {
                state.waiter = nil
                return waiter.continuation
            }
            // Once something was dropped everything is, until the consumer has been told: it would otherwise see a hole.
            if state.overflowed || state.events.count >= capacity {
                state.overflowed = true
            } else {
                state.events.append(event)
            }
            return nil
        }
        waiter?.resume(returning: event)
    }

    func finish() {
        let waiter = state.withLockedValue { state in
            state.finished = true
            defer { state.waiter = nil }
            return state.waiter?.continuation
        }
        waiter?.resume(returning: nil)
    }

    /// Nil at the end, and when the waiting task is cancelled. One consumer at a time: a second one ends the first one's wait.
    func next() async -> ClientEvent? {
        let id = state.withLockedValue { state in
            state.waiters += 1
            return state.waiters
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (next, displaced) = state.withLockedValue { state in
                    let next = state.takeNext()
                    guard case .wait = next else { return (next, CheckedContinuation<ClientEvent?, Never>?.none) }
                    // Checked under the lock: a cancellation that came first finds no waiter to wake.
                    if Task.isCancelled { return (Next.ready(nil), nil) }
                    let displaced = state.waiter?.continuation
                    state.waiter = (id, continuation)
                    return (next, displaced)
                }
                displaced?.resume(returning: nil)
                if case .ready(let event) = next { continuation.resume(returning: event) }
            }
        } onCancel: {
            let waiter = state.withLockedValue { state -> CheckedContinuation<ClientEvent?, Never>? in
                guard let waiter = state.waiter, waiter.id == id else { return nil }
                state.waiter = nil
                return waiter.continuation
            }
            waiter?.resume(returning: nil)
        }
    }
}

extension EventBuffer.State {
    fileprivate mutating func takeNext() -> EventBuffer.Next {
        if let event = events.popFirst() { return .ready(event) }
        if overflowed {
            overflowed = false
            return .ready(.missedEvents)
        }
        return finished ? .ready(nil) : .wait
    }
}
