/// Checks that the numbers 0, 1, 2 … arrive once each and in order, without remembering more than the numbers that are missing.
struct SequenceTracker: Equatable {
    /// The smallest number that nothing at or above has arrived for.
    private(set) var next: UInt64 = 0
    /// Numbers below `next` that have not arrived.
    private(set) var missing: Set<UInt64> = []
    private(set) var doubled: UInt64 = 0
    private(set) var reordered: UInt64 = 0

    /// Different numbers that have arrived.
    var count: UInt64 { next - UInt64(missing.count) }

    mutating func arrived(_ number: UInt64) {
        if number == next {
            next += 1
        } else if number > next {
            missing.formUnion(next..<number)
            next = number + 1
        } else if missing.remove(number) != nil {
            reordered += 1
        } else {
            doubled += 1
        }
    }

    func contains(_ number: UInt64) -> Bool { number < next && !missing.contains(number) }

    /// How many of 0 ..< `sent` this tracker lacks although `other` has them: acknowledged but never delivered, say.
    func lacks(of other: SequenceTracker, sent: UInt64) -> UInt64 {
        let holes = missing.count { other.contains($0) }
        let tail = next < sent ? (next..<sent).count { other.contains($0) } : 0
        return UInt64(holes + tail)
    }
}
