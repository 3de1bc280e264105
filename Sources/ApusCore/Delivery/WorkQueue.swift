import NIOConcurrencyHelpers

/// Work that callers who must not block leave for one task. Bounded: what does not fit is not taken. Keeps the order.
final class WorkQueue<Element: Sendable>: Sendable {
    private struct State {
        var waiting: [Element] = []
        var costSum = 0
        var isFinished = false
        var consumer: CheckedContinuation<Void, Never>?

        mutating func takeConsumer() -> CheckedContinuation<Void, Never>? {
            defer { consumer = nil }
            return consumer
        }
    }

    private let costMax: Int
    private let state = NIOLockedValueBox(State())

    /// - Parameter costMax: of all that waits together.
    init(costMax: Int) { self.costMax = costMax }

    /// - Returns: how many of them were not taken.
    func add(_ elements: [Element], cost: (Element) -> Int) -> Int {
        let (dropped, consumer) = state.withLockedValue { state in
            guard !state.isFinished else { return (elements.count, Self.noConsumer) }
            var dropped = 0
            for element in elements {
                let cost = cost(element)
                // An element that is larger than the bound fits when nothing else waits.
                if state.costSum > 0, state.costSum + cost > costMax {
                    dropped += 1
                } else {
                    state.waiting.append(element)
                    state.costSum += cost
                }
            }
            return (dropped, state.takeConsumer())
        }
        consumer?.resume()
        return dropped
    }

    /// All that waits, in its order; waits for the first. Nil: the queue is finished and empty, or the task is cancelled. One
    /// task calls this.
    func next() async -> [Element]? {
        while true {
            let (found, isOver) = state.withLockedValue { state in
                let found = state.waiting
                state.waiting = []
                state.costSum = 0
                return (found, state.isFinished)
            }
            if !found.isEmpty { return found }
            if isOver || Task.isCancelled { return nil }
            await somethingHappens()
        }
    }

    /// Takes nothing more.
    func finish() {
        let consumer = state.withLockedValue { state in
            state.isFinished = true
            return state.takeConsumer()
        }
        consumer?.resume()
    }

    private static var noConsumer: CheckedContinuation<Void, Never>? { nil }

    private func somethingHappens() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = state.withLockedValue { state in
                    if !state.waiting.isEmpty || state.isFinished || Task.isCancelled { return true }
                    state.consumer = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            state.withLockedValue { $0.takeConsumer() }?.resume()
        }
    }
}
