import ApusProtocol
import NIOConcurrencyHelpers

/// Snowflakes: 41 bits of milliseconds since 2024-01-01, 10 of node, 12 of counter. Strictly increasing, also when the clock
/// of the machine steps back; runs ahead of the clock when more than 4,096 are taken in a millisecond.
public final class IDGenerator: Sendable {
    /// 2024-01-01T00:00:00Z in Unix milliseconds.
    static let epoch: Int64 = 1_704_067_200_000

    private let node: UInt64
    private let clock: any WallClock
    private let last: NIOLockedValueBox<UInt64>

    /// - Parameters:
    ///   - node: 0 to 1,023; no two running nodes have the same.
    ///   - after: the largest id that this node number has given out in an earlier life, if known.
    public init(node: UInt16, clock: any WallClock, after: UInt64 = 0) {
        precondition(node < 1024, "a node number has ten bits")
        self.node = UInt64(node)
        self.clock = clock
        last = NIOLockedValueBox(after)
    }

    public func next<Tag>(_ type: Identifier<Tag>.Type = Identifier<Tag>.self) -> Identifier<Tag> {
        let time = UInt64(max(0, clock.now.milliseconds - Self.epoch))
        let raw = last.withLockedValue { last in
            var ticks = last >> 22
            var counter = (last & 0xFFF) + 1
            if time > ticks {
                ticks = time
                counter = 0
            } else if counter > 0xFFF {
                ticks += 1
                counter = 0
            }
            last = ticks << 22 | node << 12 | counter
            return last
        }
        return Identifier(rawValue: raw)
    }
}
