import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import Testing

@Suite struct IDGeneratorTests {
    private final class SetClock: WallClock {
        private let time: NIOLockedValueBox<Int64>
        init(_ milliseconds: Int64) { time = NIOLockedValueBox(milliseconds) }
        var now: Timestamp { Timestamp(milliseconds: time.withLockedValue { $0 }) }
        func set(_ milliseconds: Int64) { time.withLockedValue { $0 = milliseconds } }
    }

    /// 2024-01-01T00:00:00Z
    private static let epoch: Int64 = 1_704_067_200_000

    @Test("an id holds milliseconds, node and counter in their bits")
    func layout() {
        let generator = IDGenerator(node: 5, clock: SetClock(Self.epoch + 1000))
        #expect(generator.next(EntryID.self).rawValue == 1000 << 22 | 5 << 12)
        #expect(generator.next(EntryID.self).rawValue == 1000 << 22 | 5 << 12 | 1)
    }

    @Test("ids grow while the clock stands still, also past 4,096 of a millisecond")
    func standingClock() {
        let generator = IDGenerator(node: 1023, clock: SetClock(Self.epoch + 1000))
        var last = generator.next(EntryID.self)
        for _ in 0..<10_000 {
            let next = generator.next(EntryID.self)
            #expect(next > last)
            #expect(next.rawValue >> 12 & 1023 == 1023)
            last = next
        }
    }

    @Test("ids grow when the clock steps back")
    func clockStepsBack() {
        let clock = SetClock(Self.epoch + 100_000)
        let generator = IDGenerator(node: 0, clock: clock)
        let first = generator.next(EntryID.self)
        clock.set(Self.epoch - 5)
        let second = generator.next(EntryID.self)
        #expect(second > first)
        clock.set(Self.epoch + 200_000)
        #expect(generator.next(EntryID.self).rawValue >> 22 == 200_000)
    }

    @Test("ids begin after the last one of an earlier life")
    func earlierLife() {
        let clock = SetClock(Self.epoch + 100)
        let earlier = IDGenerator(node: 7, clock: clock)
        var last = earlier.next(EntryID.self)
        for _ in 0..<5000 { last = earlier.next(EntryID.self) }
        let later = IDGenerator(node: 7, clock: clock, after: last.rawValue)
        #expect(later.next(EntryID.self) > last)
    }

    @Test("ids do not pass their bound when the clock does, and go on with the clock when it is moved")
    func bound() {
        let clock = SetClock(Self.epoch + 1000)
        let generator = IDGenerator(node: 3, clock: clock)
        let bound = generator.bound(after: .seconds(2))
        #expect(bound == 3000 << 22 | 3 << 12 | 0xFFF)
        let bounded = IDGenerator(node: 3, clock: clock, through: bound)
        var last = bounded.next(EntryID.self)
        clock.set(Self.epoch + 3001)
        for _ in 0..<10_000 {
            let next = bounded.next(EntryID.self)
            #expect(next > last && next.rawValue <= bound)
            last = next
        }
        bounded.reserve(through: bounded.bound(after: .seconds(2)))
        #expect(bounded.next(EntryID.self).rawValue >> 22 == 3001)
    }

    @Test("ids of a life that begins after the bound of the one before never repeat, though the clock was set back")
    func boundedLives() {
        let clock = SetClock(Self.epoch + 100_000)
        let earlier = IDGenerator(node: 7, clock: clock)
        let bound = earlier.bound(after: .seconds(1))
        clock.set(Self.epoch + 100)
        let later = IDGenerator(node: 7, clock: clock, after: bound)
        #expect(later.next(EntryID.self).rawValue > bound)
        #expect(later.bound(after: .seconds(1)) > bound + 999 << 22, "the next bound is as far ahead of the ids, not of the clock")
    }

    @Test("generators of other nodes never give the same id at the same time")
    func nodes() {
        let clock = SetClock(Self.epoch + 100)
        let generators = (0..<8 as Range<UInt16>).map { IDGenerator(node: $0, clock: clock) }
        let ids = generators.flatMap { generator in (0..<5000).map { _ in generator.next(EntryID.self) } }
        #expect(Set(ids).count == ids.count)
    }

    @Test("ids taken by many at once are different")
    func concurrency() async {
        let generator = IDGenerator(node: 1, clock: SystemClock())
        let ids = await withTaskGroup(of: [EntryID].self) { group in
            for _ in 0..<8 { group.addTask { (0..<2000).map { _ in generator.next() } } }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(ids).count == 16_000)
    }
}
