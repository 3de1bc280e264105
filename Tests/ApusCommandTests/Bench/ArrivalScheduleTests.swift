import Testing

@testable import apus

@Suite struct ArrivalScheduleTests {
    private func times(_ spacing: ArrivalSchedule.Spacing, rate: Double, seconds: UInt64, seed: UInt64 = 7) -> [UInt64] {
        let start: UInt64 = 5_000_000_000
        var schedule = ArrivalSchedule(rate: rate, spacing: spacing, seed: seed, start: start, end: start + seconds * 1_000_000_000)
        var times: [UInt64] = []
        while let time = schedule.take(notAfter: .max) { times.append(time - start) }
        return times
    }

    @Test("Constant arrivals are evenly spaced and their rounding does not add up")
    func constant() {
        let times = times(.constant, rate: 3000, seconds: 10)
        #expect(times.count == 30_000)
        #expect(times[0] == 0)
        #expect(times[15_000] == 5_000_000_000)
        #expect(zip(times, times.dropFirst()).allSatisfy { (333_333...333_334).contains($1 - $0) })
    }

    @Test("Poisson arrivals have the rate and the spread of an exponential distribution")
    func poisson() {
        let times = times(.poisson, rate: 1000, seconds: 100)
        #expect(abs(times.count - 100_000) < 1000)
        let gaps = zip(times, times.dropFirst()).map { Double($1 - $0) / 1e6 }
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        let deviation = (gaps.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(gaps.count)).squareRoot()
        #expect(abs(mean - 1) < 0.02)
        #expect(abs(deviation - 1) < 0.03)
    }

    @Test("The same seed gives the same arrivals, another seed others")
    func seed() {
        #expect(times(.poisson, rate: 100, seconds: 1, seed: 1) == times(.poisson, rate: 100, seconds: 1, seed: 1))
        #expect(times(.poisson, rate: 100, seconds: 1, seed: 1) != times(.poisson, rate: 100, seconds: 1, seed: 2))
    }

    @Test("An arrival is not given out before its time, and a late sender gets all that it missed with their own times")
    func due() {
        var schedule = ArrivalSchedule(rate: 10, spacing: .constant, seed: 1, start: 1000, end: 1_000_001_000)
        #expect(schedule.take(notAfter: 999) == nil)
        #expect(schedule.take(notAfter: 1000) == 1000)
        #expect(schedule.take(notAfter: 1000) == nil)
        #expect(schedule.take(notAfter: 350_001_000) == 100_001_000)
        #expect(schedule.take(notAfter: 350_001_000) == 200_001_000)
        #expect(schedule.take(notAfter: 350_001_000) == 300_001_000)
        #expect(schedule.take(notAfter: 350_001_000) == nil)
        #expect(schedule.upcoming == 400_001_000)
    }
}
