import ApusProtocol
import NIOConcurrencyHelpers

/// Node leases in the memory of this process: for tests. Nothing survives the process.
public final class MemoryNodeLeaseStore: NodeLeaseStore {
    private struct Lease {
        var epoch: UInt64 = 0
        var expiresAt = Timestamp(milliseconds: 0)
        var idsThrough: UInt64 = 0
    }

    private let leases = NIOLockedValueBox(Array(repeating: Lease(), count: 1024))
    private let clock: any WallClock

    public init(clock: any WallClock = SystemClock()) { self.clock = clock }

    public func acquire(for duration: Duration) async throws -> NodeLease {
        let now = clock.now
        return try leases.withLockedValue { leases in
            let free = leases.indices.filter { leases[$0].expiresAt <= now }
            guard let number = free.min(by: { (leases[$0].expiresAt, $0) < (leases[$1].expiresAt, $1) }) else {
                throw ApusError(.overloaded, "all node numbers are taken", retryAfterMilliseconds: 10_000)
            }
            leases[number].epoch += 1
            leases[number].expiresAt = now.advanced(by: duration)
            return Self.lease(number, leases[number])
        }
    }

    public func renew(_ lease: NodeLease, for duration: Duration, idsThrough: UInt64) async throws -> NodeLease {
        let now = clock.now
        let number = Int(lease.node.number)
        return try leases.withLockedValue { leases in
            guard leases[number].epoch == lease.node.epoch else {
                throw ApusError(.conflict, "the node number \(number) belongs to another node now")
            }
            leases[number].expiresAt = now.advanced(by: duration)
            leases[number].idsThrough = max(leases[number].idsThrough, idsThrough)
            return Self.lease(number, leases[number])
        }
    }

    public func release(_ lease: NodeLease) async throws {
        let now = clock.now
        let number = Int(lease.node.number)
        leases.withLockedValue { leases in
            guard leases[number].epoch == lease.node.epoch else { return }
            leases[number].expiresAt = min(leases[number].expiresAt, now)
        }
    }

    private static func lease(_ number: Int, _ lease: Lease) -> NodeLease {
        NodeLease(
            node: NodeID(number: UInt16(number), epoch: lease.epoch), expiresAt: lease.expiresAt, idsThrough: lease.idsThrough)
    }
}

extension Timestamp {
    fileprivate func advanced(by duration: Duration) -> Timestamp {
        let (seconds, attoseconds) = duration.components
        return Timestamp(milliseconds: milliseconds + seconds * 1000 + attoseconds / 1_000_000_000_000_000)
    }
}
