import ApusProtocol
import Foundation

/// Tells the time of day. Handed in wherever time goes into a decision, so that a test can set it.
public protocol WallClock: Sendable {
    var now: Timestamp { get }
}

public struct SystemClock: WallClock {
    public init() {}

    public var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}
