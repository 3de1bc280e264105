import ApusProtocol
import NIOConcurrencyHelpers

/// A message that is in the outbox, and will be sent until the server has answered.
public struct PendingSend: Sendable {
    public let conversation: ConversationID
    public let clientID: String

    let outcome: SendOutcome

    /// Returns when the server has made the message durable.
    /// - Throws: the server's ``ApusError`` when it refused the message for good; `client_closed` or `not_logged_in` when this
    ///   client ended first (the message stays in the outbox); `CancellationError` when the waiting task is cancelled (likewise).
    public func acknowledgement() async throws -> AckFrame { try await outcome.value() }
}

/// The answer to one send, for whoever waits for it.
final class SendOutcome: Sendable {
    private typealias Waiter = CheckedContinuation<AckFrame, any Error>

    private enum State {
        case open([UInt64: Waiter], next: UInt64)
        case done(Result<AckFrame, any Error>)
    }

    private let state = NIOLockedValueBox(State.open([:], next: 0))

    /// Only the first call has an effect.
    func complete(_ result: Result<AckFrame, any Error>) {
        let waiters = state.withLockedValue { state -> [Waiter] in
            guard case .open(let waiters, _) = state else { return [] }
            state = .done(result)
            return Array(waiters.values)
        }
        for waiter in waiters { waiter.resume(with: result) }
    }

    func value() async throws -> AckFrame {
        let id = state.withLockedValue { state -> UInt64 in
            guard case .open(let waiters, let next) = state else { return 0 }
            state = .open(waiters, next: next + 1)
            return next
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (waiter: Waiter) in
                let ready = state.withLockedValue { state -> Result<AckFrame, any Error>? in
                    switch state {
                    case .done(let result): return result
                    case .open(var waiters, let next):
                        if Task.isCancelled { return .failure(CancellationError()) }
                        waiters[id] = waiter
                        state = .open(waiters, next: next)
                        return nil
                    }
                }
                if let ready { waiter.resume(with: ready) }
            }
        } onCancel: {
            let waiter = state.withLockedValue { state -> Waiter? in
                guard case .open(var waiters, let next) = state, let waiter = waiters.removeValue(forKey: id) else { return nil }
                state = .open(waiters, next: next)
                return waiter
            }
            waiter?.resume(throwing: CancellationError())
        }
    }
}
