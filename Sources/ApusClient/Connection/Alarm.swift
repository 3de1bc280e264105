import NIOConcurrencyHelpers
import NIOCore

/// Wakes one waiting task at the earliest of the times that were set, or when it is rung.
final class Alarm: Sendable {
    /// One element per wake-up; several that nobody waited for become one. For one consumer.
    let signals: AsyncStream<Void>

    private let continuation: AsyncStream<Void>.Continuation
    private let eventLoop: any EventLoop
    private let timer = NIOLockedValueBox<(deadline: NIODeadline, scheduled: Scheduled<Void>)?>(nil)

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        (signals, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Wakes after `delay` at the latest. What was set for an earlier time stays: who wakes too early sets it anew, which is cheaper than to
    /// reschedule whenever a deadline moves into the future.
    func set(after delay: Duration) {
        let deadline = NIODeadline.now() + max(.zero, TimeAmount(delay))
        timer.withLockedValue { timer in
            if let present = timer, present.deadline <= deadline { return }
            timer?.scheduled.cancel()
            timer = (
                deadline,
                eventLoop.scheduleTask(deadline: deadline) { [weak self] in self?.fired() }
            )
        }
    }

    func ring() { continuation.yield() }

    func cancel() {
        timer.withLockedValue { timer in
            timer?.scheduled.cancel()
            timer = nil
        }
        continuation.finish()
    }

    private func fired() {
        timer.withLockedValue { $0 = nil }
        ring()
    }
}
