#if Cluster
import ApusBackends
import NIOConcurrencyHelpers

/// Progress on standard error: a line each second.
final class MigrationProgressLines: Sendable {
    private struct State {
        var step: DataMigration.Progress?
        var startedAt = ContinuousClock.now
        var rowsBefore = 0
        var shownAt = ContinuousClock.now
    }

    private let state = NIOLockedValueBox(State())

    @Sendable func show(_ progress: DataMigration.Progress) {
        let line = state.withLockedValue { state -> String? in
            let now = ContinuousClock.now
            if state.step?.table != progress.table || state.step?.step != progress.step {
                state.startedAt = now
                // The first message of a table that a killed migration had begun counts what was there.
                state.rowsBefore = progress.rows
            }
            state.step = progress
            guard now - state.shownAt >= .seconds(1) else { return nil }
            state.shownAt = now
            let seconds = max(0.001, Double((now - state.startedAt) / .milliseconds(1)) / 1_000)
            let rate = Int(Double(progress.rows - state.rowsBefore) / seconds)
            let line = "\(progress.step.rawValue) \(progress.table): \(progress.rows) of \(progress.total) rows"
            return rate > 0 ? "\(line), \(rate)/s" : line
        }
        if let line { Output.note(line) }
    }
}
#endif
