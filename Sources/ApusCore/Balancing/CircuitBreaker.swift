/// Keeps calls away from a node that fails, and lets single ones through after a while to see whether it has recovered. A pure
/// value; time is handed in.
///
/// Closed, it counts; once enough calls were made and too many of them failed it opens and admits none. After a pause it is
/// half-open and admits a few: the first success closes it, a failure opens it again.
public struct CircuitBreaker: Sendable {
    public struct Configuration: Sendable, Hashable {
        /// Opens when at least this share of the calls failed, of those that ended within ``window``.
        public var errorRate: Double
        /// Fewer calls than this prove nothing.
        public var volumeMin: Int
        public var window: Duration
        /// From opening to the first attempt to see whether the node works again.
        public var pause: Duration
        /// Calls at once while half-open.
        public var probesMax: Int

        public init(
            errorRate: Double = 0.5, volumeMin: Int = 5, window: Duration = .seconds(10), pause: Duration = .seconds(3),
            probesMax: Int = 1
        ) {
            self.errorRate = errorRate
            self.volumeMin = volumeMin
            self.window = window
            self.pause = pause
            self.probesMax = probesMax
        }
    }

    public enum Outcome: Sendable, Hashable {
        case success, failure
        /// It ended for a reason that says nothing about the node.
        case abandoned
    }

    public enum Phase: String, Sendable, Hashable {
        case closed, open
        case halfOpen = "half-open"
    }

    /// For one call. Belongs to the phase in which it was given: how a call ends that began before the breaker opened says
    /// nothing about the node's recovery.
    public struct Permit: Sendable, Hashable {
        fileprivate var phaseNumber: Int
    }

    private enum State {
        case closed(CallCounts)
        case open(until: ContinuousClock.Instant)
        case halfOpen(probes: Int)
    }

    private let configuration: Configuration
    private var state: State
    private var phaseNumber = 0

    public init(_ configuration: Configuration = Configuration()) {
        self.configuration = configuration
        state = .closed(CallCounts(window: configuration.window))
    }

    public func phase(at now: ContinuousClock.Instant) -> Phase {
        switch state {
        case .closed: .closed
        case .open(let until): now < until ? .open : .halfOpen
        case .halfOpen: .halfOpen
        }
    }

    public func admits(at now: ContinuousClock.Instant) -> Bool {
        switch state {
        case .closed: true
        case .open(let until): now >= until
        case .halfOpen(let probes): probes < configuration.probesMax
        }
    }

    /// Each permit must be given back by ``ended(_:_:at:)``.
    /// - Returns: nil when no call may be made now.
    public mutating func permit(at now: ContinuousClock.Instant) -> Permit? {
        guard admits(at: now) else { return nil }
        switch state {
        case .closed: break
        case .open: enter(.halfOpen(probes: 1))
        case .halfOpen(let probes): state = .halfOpen(probes: probes + 1)
        }
        return Permit(phaseNumber: phaseNumber)
    }

    public mutating func ended(_ permit: Permit, _ outcome: Outcome, at now: ContinuousClock.Instant) {
        guard permit.phaseNumber == phaseNumber else { return }
        switch (state, outcome) {
        case (.open, _), (.closed, .abandoned): break
        case (.closed(var counts), _):
            counts.add(failed: outcome == .failure, at: now)
            let (all, failed) = counts.total
            if all >= configuration.volumeMin, Double(failed) >= Double(all) * configuration.errorRate, failed > 0 {
                enter(.open(until: now + configuration.pause))
            } else {
                state = .closed(counts)
            }
        case (.halfOpen(let probes), .abandoned): state = .halfOpen(probes: probes - 1)
        case (.halfOpen, .success): enter(.closed(CallCounts(window: configuration.window)))
        case (.halfOpen, .failure): enter(.open(until: now + configuration.pause))
        }
    }

    private mutating func enter(_ state: State) {
        self.state = state
        phaseNumber += 1
    }
}

/// Calls of the last while, in ten slots, so that it forgets bit by bit.
private struct CallCounts {
    private struct Slot {
        var start: ContinuousClock.Instant
        var all: Int
        var failed: Int
    }

    private let window: Duration
    /// Oldest first.
    private var slots: [Slot] = []

    init(window: Duration) { self.window = window }

    var total: (all: Int, failed: Int) { slots.reduce((0, 0)) { ($0.0 + $1.all, $0.1 + $1.failed) } }

    mutating func add(failed: Bool, at now: ContinuousClock.Instant) {
        slots.removeAll { $0.start + window <= now }
        if slots.last.map({ now >= $0.start + window / 10 }) ?? true { slots.append(Slot(start: now, all: 0, failed: 0)) }
        slots[slots.count - 1].all += 1
        if failed { slots[slots.count - 1].failed += 1 }
    }
}
