import ApusProtocol
import NIOConcurrencyHelpers

/// Snowflakes: 41 bits of milliseconds since 2024-01-01, 10 of node, 12 of counter. Strictly increasing, also when the clock
/// of the machine steps back; runs ahead of the clock when more than 4,096 are taken in a millisecond.
///
/// Ids of one node number never repeat from one life to the next, whatever the clock does, if the ids of a life are bounded in advance
/// and the next life begins after the bound: see ``reserve(through:)`` and ``NodeLeaseKeeper``.
public final class IDGenerator: Sendable {
    /// 2024-01-01T00:00:00Z in Unix milliseconds.
    static let epoch: Int64 = 1_704_067_200_000

    private struct State {
        var last: UInt64
        var through: UInt64
    }

    private let node: UInt64
    private let clock: any WallClock
    private let state: NIOLockedValueBox<State>

    /// - Parameters:
    ///   - node: 0 to 1,023; no two running nodes have the same.
    ///   - after: no id up to this one is given out: the bound of the earlier lives of this node number.
    ///   - through: no id above this one is given out before ``reserve(through:)`` allows more.
    public init(node: UInt16, clock: any WallClock, after: UInt64 = 0, through: UInt64 = .max) {
        precondition(node < 1024, "a node number has ten bits")
        self.node = UInt64(node)
        self.clock = clock
        state = NIOLockedValueBox(State(last: after, through: through))
    }

    /// The id that the node does not reach within `duration` from now. Changes nothing.
    public func bound(after duration: Duration) -> UInt64 {
        let ahead = UInt64(max(0, duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000))
        let time = ticks(of: clock)
        return state.withLockedValue { (max(time, $0.last >> 22) + ahead) << 22 | node << 12 | 0xFFF }
    }

    /// Allows ids up to a bound that has been noted where the next life of the node will find it. Never takes back.
    public func reserve(through bound: UInt64) {
        state.withLockedValue { $0.through = max($0.through, bound) }
    }

    public func next<Tag>(_ type: Identifier<Tag>.Type = Identifier<Tag>.self) -> Identifier<Tag> {
        let time = ticks(of: clock)
        let raw = state.withLockedValue { state in
            var ticks = state.last >> 22
            var counter = (state.last & 0xFFF) + 1
            // A clock beyond the bound (it was set, or the process stood still) counts as one that stands: thousands of ids are left for
            // each millisecond up to the bound.
            if time > ticks, time <= state.through >> 22 {
                ticks = time
                counter = 0
            } else if counter > 0xFFF {
                ticks += 1
                counter = 0
            }
            let next = ticks << 22 | node << 12 | counter
            // Renewals have failed for so long that the number is another node's: an id would be one that exists already.
            precondition(next <= state.through, "no id is left of those that were reserved")
            state.last = next
            return next
        }
        return Identifier(rawValue: raw)
    }

    private func ticks(of clock: any WallClock) -> UInt64 { UInt64(max(0, clock.now.milliseconds - Self.epoch)) }
}
