import Foundation

/// The times at which an open-loop load sends, fixed before the run: a slow server does not slow the load down, so the wait that
/// it causes is measured instead of omitted. Times are nanoseconds of the monotonic clock.
struct ArrivalSchedule {
    enum Spacing: String, Codable, CaseIterable, Sendable {
        /// Evenly spaced.
        case constant
        /// Exponential gaps, as independent users make them.
        case poisson
    }

    private let rate: Double
    private let spacing: Spacing
    private let start: UInt64
    private let end: UInt64
    private var random: SplitMix64
    private var issued: UInt64 = 0
    /// Offset of the next arrival from `start`, in nanoseconds.
    private var offset: Double = 0

    /// - Parameters:
    ///   - rate: arrivals per second, above 0.
    ///   - end: the first nanosecond that has no arrival any more.
    init(rate: Double, spacing: Spacing, seed: UInt64, start: UInt64, end: UInt64) {
        precondition(rate > 0, "a schedule has a rate")
        self.rate = rate
        self.spacing = spacing
        self.start = start
        self.end = end
        random = SplitMix64(seed: seed)
        if spacing == .poisson { offset = gap() }
    }

    /// The next arrival; nil: the schedule is over.
    var upcoming: UInt64? {
        let time = start + UInt64(offset)
        return time < end ? time : nil
    }

    /// Takes the next arrival if it is due.
    mutating func take(notAfter now: UInt64) -> UInt64? {
        guard let time = upcoming, time <= now else { return nil }
        issued += 1
        switch spacing {
        // From the count, not from the last offset: rounding does not add up.
        case .constant: offset = Double(issued) * 1e9 / rate
        case .poisson: offset += gap()
        }
        return time
    }

    private mutating func gap() -> Double {
        let uniform = Double(random.next() >> 11) * 0x1p-53
        return -log(1 - uniform) * 1e9 / rate
    }
}

/// A small seeded generator: the same seed gives the same run.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
