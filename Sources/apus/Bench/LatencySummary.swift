import Histogram

typealias LatencyHistogram = Histogram<UInt64>

extension LatencyHistogram {
    /// Nanoseconds, three digits, a microsecond at the finest.
    static func latency() -> LatencyHistogram {
        var histogram = LatencyHistogram(lowestDiscernibleValue: 1024, highestTrackableValue: 60_000_000_000)
        histogram.autoResize = true
        return histogram
    }
}

/// A histogram as it travels between processes: only the values that occurred.
struct HistogramSnapshot: Codable, Sendable, Equatable {
    private var values: [UInt64] = []
    private var counts: [UInt64] = []

    init(_ histogram: LatencyHistogram) {
        for bucket in histogram.recordedValues() {
            values.append(bucket.value)
            counts.append(bucket.count)
        }
    }

    func add(to histogram: inout LatencyHistogram) {
        for (value, count) in zip(values, counts) { histogram.record(value, count: count) }
    }
}

/// The figures of a latency distribution in milliseconds.
struct LatencySummary: Codable, Sendable, Equatable {
    var count: UInt64
    var mean: Double
    var p50: Double
    var p90: Double
    var p99: Double
    var p999: Double
    var max: Double

    init(_ histogram: LatencyHistogram) {
        func milliseconds(_ percentile: Double) -> Double {
            histogram.totalCount == 0 ? 0 : Double(histogram.valueAtPercentile(percentile)) / 1e6
        }
        count = histogram.totalCount
        mean = count == 0 ? 0 : histogram.mean / 1e6
        p50 = milliseconds(50)
        p90 = milliseconds(90)
        p99 = milliseconds(99)
        p999 = milliseconds(99.9)
        max = count == 0 ? 0 : Double(histogram.maxRecorded) / 1e6
    }
}
