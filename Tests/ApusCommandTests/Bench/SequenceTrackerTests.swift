import Testing

@testable import apus

@Suite struct SequenceTrackerTests {
    private func tracker(_ numbers: [UInt64]) -> SequenceTracker {
        var tracker = SequenceTracker()
        for number in numbers { tracker.arrived(number) }
        return tracker
    }

    @Test("What arrives once and in order has no fault")
    func clean() {
        let tracker = tracker(Array(0..<1000))
        #expect(tracker.count == 1000)
        #expect(tracker.missing.isEmpty)
        #expect(tracker.doubled == 0)
        #expect(tracker.reordered == 0)
    }

    @Test("A number that comes twice counts as doubled, also long after it")
    func doubled() {
        let tracker = tracker([0, 1, 1, 2, 3, 0])
        #expect(tracker.doubled == 2)
        #expect(tracker.count == 4)
    }

    @Test("A number that comes after a larger one counts as re-ordered and not as lost")
    func reordered() {
        let tracker = tracker([0, 2, 3, 1])
        #expect(tracker.reordered == 1)
        #expect(tracker.missing.isEmpty)
        #expect(tracker.doubled == 0)
    }

    @Test("Holes and a missing tail are lost if the other side acknowledged them, and only then")
    func lost() {
        let delivered = tracker([0, 1, 4])
        #expect(delivered.missing == [2, 3])
        #expect(delivered.lacks(of: tracker(Array(0..<7)), sent: 8) == 4)
        #expect(delivered.lacks(of: tracker([0, 1, 3, 4]), sent: 8) == 1)
        #expect(delivered.lacks(of: tracker([0, 1, 4]), sent: 8) == 0)
    }
}
