import ApusProtocol
import Testing

@testable import ApusChaos

@Suite("Chaos run")
struct ChaosTests {
    private func key(_ number: Int) -> History.ContentKey {
        History.ContentKey(conversation: ConversationID(1), sender: AccountID(2), content: .init(body: "\(number)"))
    }

    @Test("A message counts as disturbed when it was under way in a fault or up to five seconds after it, and as calm otherwise")
    func disturbed() {
        let start = ContinuousClock.now
        func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }
        var timings = Timings()
        // Sent and seen: before the fault, into it, within it, soon after it, long after it.
        let messages = [(0, 1), (8, 11), (12, 13), (24, 25), (26, 27)]
        timings.faultBegins(at: at(10))
        timings.faultEnds(at: at(20))
        for (number, (sent, seen)) in messages.enumerated() {
            timings.sent(key(number), at: at(sent))
            timings.acknowledged(key(number), at: at(seen))
            timings.saw(key(number), reader: "reader", seq: Seq(number + 1), at: at(seen))
        }
        #expect(timings.deliverySummaries.calm.count == 2)
        #expect(timings.deliverySummaries.disturbed.count == 3)
        #expect(timings.deliverySummaries.disturbed.max == 3000)
        #expect(timings.acknowledgementSummaries.disturbed.p50 == 1000)
        #expect(timings.slowest?.took == .seconds(3))
    }

    @Test("A repetition is as late as the message was first sent, and what comes after the end is not measured")
    func repetition() {
        let start = ContinuousClock.now
        var timings = Timings()
        timings.sent(key(1), at: start)
        timings.sent(key(1), at: start + .seconds(2))
        timings.acknowledged(key(1), at: start + .seconds(3))
        timings.end()
        timings.acknowledged(key(1), at: start + .seconds(9))
        #expect(timings.acknowledgementSummaries.calm.count == 1)
        #expect(timings.acknowledgementSummaries.calm.max == 3000)
    }

    @Test("Every kind of fault comes in a run of a hundred, the same for the same seed, and nodes are cut off only where they can be")
    func series() {
        var (first, second) = (SeededGenerator(seed: 7), SeededGenerator(seed: 7))
        let series = ClusterFaultKind.series(100, hasNetwork: true, hasBroker: true, using: &first)
        #expect(series.count == 100)
        #expect(Set(series) == Set(ClusterFaultKind.allCases))
        #expect(series == ClusterFaultKind.series(100, hasNetwork: true, hasBroker: true, using: &second))
        let few = ClusterFaultKind.series(100, hasNetwork: false, hasBroker: false, using: &second)
        #expect(Set(few).isDisjoint(with: [.nodeCut, .brokerKilled]))
    }
}
