import ApusProtocol
import Logging
import NIOConcurrencyHelpers

/// Counts what was lost on the way and says so now and then: under overload a line for each loss would be one more load.
final class LossLog: Sendable {
    private struct State {
        var count = 0
        var unsaid = 0
        var saidAt: Timestamp?
    }

    private static let pauseMilliseconds: Int64 = 10_000
    private let what: String
    private let clock: any WallClock
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    init(_ what: String, clock: any WallClock, logger: Logger) {
        self.what = what
        self.clock = clock
        self.logger = logger
    }

    /// All that was ever lost.
    var count: Int { state.withLockedValue { $0.count } }

    func lost(_ count: Int, _ reason: @autoclosure () -> String) {
        guard count > 0 else { return }
        let now = clock.now
        let unsaid: Int? = state.withLockedValue { state in
            state.count += count
            state.unsaid += count
            if let saidAt = state.saidAt, now.milliseconds - saidAt.milliseconds < Self.pauseMilliseconds { return nil }
            state.saidAt = now
            defer { state.unsaid = 0 }
            return state.unsaid
        }
        guard let unsaid else { return }
        logger.warning("\(what) dropped; the head sweep repairs it", metadata: ["count": "\(unsaid)", "reason": "\(reason())"])
    }
}
