import Foundation
import Testing

@testable import apus

@Suite struct ReportTests {
    @Test("A stamp survives its text and its body, and fits into a client id")
    func stamp() throws {
        let stamp = BenchStamp(run: (1 << 40) - 1, stream: 999_999, index: 4_000_000_000, intended: 9_000_000_000_000_000_000)
        #expect(stamp.text.utf8.count <= 64)
        #expect(BenchStamp(stamp.text) == stamp)
        #expect(BenchStamp(stamp.body(bytes: 150)) == stamp)
        #expect(stamp.body(bytes: 150).utf8.count == 150)
        #expect(BenchStamp(stamp.body(bytes: 1)) == stamp)
    }

    @Test("Messages of people are no stamps", arguments: ["", "hello", "1.2.3", "1.2.3.", "1.2.3.x", "1..3.4", "1.2.3.4.5", "1.2.3.4x"])
    func noStamp(text: String) {
        #expect(BenchStamp(text) == nil)
    }

    @Test("Histograms of several processes add up to the histogram of all values")
    func merge() throws {
        var one = LatencyHistogram.latency()
        var other = LatencyHistogram.latency()
        for value in 1...1000 { one.record(UInt64(value) * 10_000) }
        for value in 1001...2000 { other.record(UInt64(value) * 10_000) }
        var merged = LatencyHistogram.latency()
        for histogram in [one, other] {
            let wire = try JSONEncoder().encode(HistogramSnapshot(histogram))
            try JSONDecoder().decode(HistogramSnapshot.self, from: wire).add(to: &merged)
        }
        let summary = LatencySummary(merged)
        #expect(summary.count == 2000)
        #expect(abs(summary.p50 - 10) < 0.05)
        #expect(abs(summary.p99 - 19.8) < 0.05)
        #expect(abs(summary.max - 20) < 0.05)
    }

    @Test("An empty histogram gives zeros")
    func empty() {
        let summary = LatencySummary(.latency())
        #expect(summary.count == 0)
        #expect(summary.p99 == 0)
        #expect(summary.max == 0)
    }

    @Test("Any fault makes the checks unclean and two workers' counts add up")
    func checks() {
        #expect(DeliveryChecks(sent: 5, acknowledged: 5, delivered: 5).isClean)
        for fault in [\DeliveryChecks.refused, \.unanswered, \.lost, \.doubled, \.reordered, \.gaps] {
            var checks = DeliveryChecks()
            checks[keyPath: fault] = 1
            #expect(!checks.isClean)
            #expect((checks + checks)[keyPath: fault] == 2)
        }
    }

    @Test("Memory and CPU time are read from the files of /proc, also when the program has a strange name")
    func probe() {
        #expect(ServerProbe.residentBytes(status: "Name:\tapus\nVmRSS:\t   23456 kB\nThreads:\t5\n") == 23456 * 1024)
        #expect(ServerProbe.residentBytes(status: "Name:\tapus\n") == nil)
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 700 55 0 0 20 0"
        #expect(ServerProbe.cpuTicks(stat: stat) == 755)
        #expect(ServerProbe.cpuTicks(stat: "42") == nil)
    }

    @Test("Work is divided over processes without a rest")
    func ranges() {
        #expect(evenRanges(10, parts: 3) == [0..<3, 3..<6, 6..<10])
        #expect(evenRanges(2, parts: 2) == [0..<1, 1..<2])
    }
}
