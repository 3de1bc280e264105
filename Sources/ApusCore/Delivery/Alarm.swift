import NIOConcurrencyHelpers

/// Lets one task sleep until a time or until somebody rings, whichever comes first. A ring with nobody asleep is kept.
final class Alarm: Sendable {
    private enum State {
        case quiet
        case rung
        case asleep(CheckedContinuation<Void, Never>)
    }

    private let state = NIOLockedValueBox(State.quiet)

    func ring() {
        let sleeper: CheckedContinuation<Void, Never>? = state.withLockedValue { state in
            if case .asleep(let sleeper) = state {
                state = .quiet
                return sleeper
            }
            state = .rung
            return nil
        }
        sleeper?.resume()
    }

    /// Returns early when the task is cancelled.
    func sleep(atMost duration: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(for: duration) }
            group.addTask { await self.untilRung() }
            await group.next()
            group.cancelAll()
        }
    }

    private func untilRung() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLockedValue { state in
                    if case .rung = state {
                        state = .quiet
                        return true
                    }
                    if Task.isCancelled { return true }
                    state = .asleep(continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let sleeper: CheckedContinuation<Void, Never>? = state.withLockedValue { state in
                guard case .asleep(let sleeper) = state else { return nil }
                state = .quiet
                return sleeper
            }
            sleeper?.resume()
        }
    }
}
