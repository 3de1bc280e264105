import Foundation

/// Prints a line at once, also into a pipe.
func report(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Seconds of the monotonic clock.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Seconds of CPU that all threads of this process have used.
func cpu() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Durations of single operations.
struct Durations {
    private var seconds: [Double] = []

    mutating func measure<Value>(_ body: () throws -> Value) rethrows -> Value {
        let start = now()
        defer { seconds.append(now() - start) }
        return try body()
    }

    mutating func add(_ duration: Double) { seconds.append(duration) }

    /// Microseconds.
    func quantile(_ quantile: Double) -> Double {
        let sorted = seconds.sorted()
        guard let last = sorted.indices.last else { return 0 }
        return sorted[min(last, Int(Double(sorted.count) * quantile))] * 1e6
    }

    var summary: String {
        "p50 \(Int(quantile(0.5))) µs, p99 \(Int(quantile(0.99))) µs, max \(Int(quantile(1))) µs"
    }
}

/// Nanoseconds of one call, the best of five rounds: what disturbs a round only makes it slower.
func nanoseconds(_ count: Int = 100_000, _ body: () throws -> Void) rethrows -> Double {
    var best = Double.infinity
    for _ in 0..<5 {
        let start = now()
        for _ in 0..<count { try body() }
        best = min(best, (now() - start) / Double(count) * 1e9)
    }
    return best
}

extension String {
    func padded(_ width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
    func leftPadded(_ width: Int) -> String { String(repeating: " ", count: Swift.max(0, width - count)) + self }
}

/// Random numbers that are the same in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// A client id: random, or one that grows with time as those of the SDK do.
func clientID(ordered: Bool, _ number: UInt64, _ random: inout SplitMix) -> String {
    func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
    return hex(ordered ? number : random.next()) + hex(random.next())
}
