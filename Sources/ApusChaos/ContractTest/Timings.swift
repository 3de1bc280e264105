import ApusProtocol

/// How long things took, in milliseconds.
public struct LatencySummary: Codable, Hashable, Sendable {
    public var count: Int
    public var p50: Double
    public var p99: Double
    public var max: Double

    init(_ durations: [Duration]) {
        let sorted = durations.sorted()
        func milliseconds(_ index: Int) -> Double {
            sorted.isEmpty ? 0 : (sorted[min(index, sorted.count - 1)] / .microseconds(1)).rounded() / 1000
        }
        count = sorted.count
        p50 = milliseconds(sorted.count / 2)
        p99 = milliseconds(sorted.count * 99 / 100)
        max = milliseconds(sorted.count - 1)
    }
}

extension LatencySummary: CustomStringConvertible {
    public var description: String { count == 0 ? "none" : "p50 \(p50) ms, p99 \(p99) ms, max \(max) ms (\(count))" }
}

/// When messages were sent, acknowledged and seen, and when faults went on.
struct Timings {
    struct Sample {
        var sent: ContinuousClock.Instant
        var took: Duration
    }

    struct Slow {
        var took: Duration
        var description: String
    }

    /// What a fault does goes on for a while after its repair: clients are between two attempts to connect.
    private static let aftermath = Duration.seconds(5)

    private var sent: [History.ContentKey: ContinuousClock.Instant] = [:]
    private var acknowledgements: [Sample] = []
    private var deliveries: [Sample] = []
    private(set) var slowest: Slow?
    private var faults: [Range<ContinuousClock.Instant>] = []
    private var faultBegan: ContinuousClock.Instant?
    /// What is sent or seen from here on is not part of the run.
    private var isOver = false

    mutating func sent(_ key: History.ContentKey, at now: ContinuousClock.Instant) {
        // A repetition is a message that was sent before.
        if !isOver, sent[key] == nil { sent[key] = now }
    }

    mutating func acknowledged(_ key: History.ContentKey, at now: ContinuousClock.Instant) {
        guard !isOver, let sent = sent[key] else { return }
        acknowledgements.append(Sample(sent: sent, took: now - sent))
    }

    mutating func saw(_ key: History.ContentKey, reader: String, seq: Seq, at now: ContinuousClock.Instant) {
        guard !isOver, let sent = sent[key] else { return }
        deliveries.append(Sample(sent: sent, took: now - sent))
        if now - sent > slowest?.took ?? .zero {
            slowest = Slow(took: now - sent, description: "seq \(seq) of \(key.conversation) at \(reader)")
        }
    }

    mutating func faultBegins(at now: ContinuousClock.Instant) { faultBegan = now }

    mutating func faultEnds(at now: ContinuousClock.Instant) {
        if let began = faultBegan { faults.append(began..<max(now + Self.aftermath, began)) }
        faultBegan = nil
    }

    mutating func end() { isOver = true }

    /// Those that a fault could not touch, and the others.
    var acknowledgementSummaries: (calm: LatencySummary, disturbed: LatencySummary) { summaries(acknowledgements) }
    var deliverySummaries: (calm: LatencySummary, disturbed: LatencySummary) { summaries(deliveries) }

    private func summaries(_ samples: [Sample]) -> (calm: LatencySummary, disturbed: LatencySummary) {
        var calm: [Duration] = []
        var disturbed: [Duration] = []
        // Faults come one after the other, so those that end before a sample began are a prefix of them.
        for sample in samples {
            let end = sample.sent + sample.took
            let first = faults.partitionIndex { $0.upperBound > sample.sent }
            if first < faults.count, faults[first].lowerBound <= end { disturbed.append(sample.took) } else { calm.append(sample.took) }
        }
        return (LatencySummary(calm), LatencySummary(disturbed))
    }
}

extension Array {
    /// The first index whose element satisfies the condition, of an array where all after it do as well.
    fileprivate func partitionIndex(where condition: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
