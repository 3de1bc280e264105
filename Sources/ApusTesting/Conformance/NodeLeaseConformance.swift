import ApusCore
import ApusProtocol

/// The promises of ``NodeLeaseStore``.
public enum NodeLeaseConformance {
    public static let cases: [ConformanceCase<any NodeLeaseStore>] = [
        .init("nodes that run at the same time have different numbers, however many ask at once", numbersDiffer),
        .init("a number comes back when it is given back, as another life of it, with all 1,024 in use before", allNumbers),
        .init("a number that ran out goes to the next node, and its old holder is told", lost),
        .init("who renews late keeps the number if nobody took it", late),
        .init("the bound of ids is kept for the next life, and only grows", bounds),
        .init("giving back what is another's changes nothing", staleRelease),
    ]

    private static let long = Duration.seconds(3600)

    private static func numbersDiffer(_ store: any NodeLeaseStore) async throws {
        let leases = try await acquire(20, store, atOnce: true)
        try expectEqual(Set(leases.map(\.node.number)).count, 20, "different numbers")
        try expect(leases.allSatisfy { $0.node.number < 1024 && $0.node.epoch == 1 && $0.idsThrough == 0 }, "first lives")
        let first = try require(leases.first, "a lease")
        let renewed = try await store.renew(first, for: long * 2, idsThrough: 7)
        try expectEqual(renewed.node, first.node, "the same life")
        try expect(renewed.expiresAt > first.expiresAt, "it is held for longer")
    }

    private static func allNumbers(_ store: any NodeLeaseStore) async throws {
        var leases = try await acquire(1024, store, atOnce: false)
        try expectEqual(Set(leases.map(\.node.number)), Set(0..<1024), "all numbers")
        try await expectRefusal(.overloaded, "one more node") { _ = try await store.acquire(for: long) }
        let given = leases.remove(at: 500)
        try await store.release(given)
        let again = try await store.acquire(for: long)
        try expectEqual(again.node, NodeID(number: given.node.number, epoch: given.node.epoch + 1), "the number, in its next life")
        try await expectRefusal(.overloaded, "one more node") { _ = try await store.acquire(for: long) }
    }

    private static func lost(_ store: any NodeLeaseStore) async throws {
        let old = try await store.acquire(for: .zero)
        let taken = try await takeOver(old, store)
        try expectEqual(taken.node.epoch, old.node.epoch + 1, "the next life")
        try await expectRefusal(.conflict, "the old holder renews") { _ = try await store.renew(old, for: long, idsThrough: 9) }
        let renewed = try await store.renew(taken, for: long, idsThrough: 3)
        try expectEqual(renewed.idsThrough, 3, "the old holder noted nothing")
    }

    private static func late(_ store: any NodeLeaseStore) async throws {
        let first = try await store.acquire(for: .zero)
        let renewed = try await store.renew(first, for: long, idsThrough: 1)
        try expectEqual(renewed.node, first.node, "still the same life")
        let other = try await store.acquire(for: long)
        try expect(other.node.number != first.node.number, "nobody else gets the number")
    }

    private static func bounds(_ store: any NodeLeaseStore) async throws {
        let large: UInt64 = (1 << 63) - 1
        let first = try await store.acquire(for: long)
        try expectEqual(try await store.renew(first, for: long, idsThrough: large - 5).idsThrough, large - 5, "noted")
        try expectEqual(try await store.renew(first, for: .zero, idsThrough: 17).idsThrough, large - 5, "a smaller bound is no news")
        try expectEqual(try await takeOver(first, store).idsThrough, large - 5, "found by the next life")
    }

    private static func staleRelease(_ store: any NodeLeaseStore) async throws {
        let old = try await store.acquire(for: .zero)
        let taken = try await takeOver(old, store)
        try await store.release(old)
        // All numbers are in use now.
        try await expectRefusal(.overloaded, "the new holder keeps it") { _ = try await store.acquire(for: long) }
        try expectEqual(try await store.renew(taken, for: long, idsThrough: 1).node, taken.node, "the new holder renews")
    }

    private static func acquire(_ count: Int, _ store: any NodeLeaseStore, atOnce: Bool) async throws -> [NodeLease] {
        try await withThrowingTaskGroup(of: NodeLease.self) { group in
            var leases: [NodeLease] = []
            for _ in 0..<count {
                group.addTask { try await store.acquire(for: long) }
                if !atOnce, let lease = try await group.next() { leases.append(lease) }
            }
            for try await lease in group { leases.append(lease) }
            return leases
        }
    }

    /// Takes numbers until it gets the one of a lease that ran out: others were free for longer.
    private static func takeOver(_ lease: NodeLease, _ store: any NodeLeaseStore) async throws -> NodeLease {
        for _ in 0..<1024 {
            let taken = try await store.acquire(for: long)
            if taken.node.number == lease.node.number { return taken }
        }
        throw ConformanceFailure("nobody gets the number \(lease.node.number)", #fileID, #line)
    }
}
