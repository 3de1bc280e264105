import ApusCore
import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import Testing

@Suite struct NodeLeaseKeeperTests {
    /// Passes calls on to another store; says when it was asked to renew, and fails as it is told.
    private final class WatchedStore: NodeLeaseStore {
        let inner = MemoryNodeLeaseStore()
        let failure = NIOLockedValueBox<ApusError?>(nil)
        let renewals: AsyncStream<NodeLease>
        let failures: AsyncStream<Void>
        private let renewed: AsyncStream<NodeLease>.Continuation
        private let failed: AsyncStream<Void>.Continuation

        init() {
            (renewals, renewed) = AsyncStream.makeStream()
            (failures, failed) = AsyncStream.makeStream()
        }

        func acquire(for duration: Duration) async throws -> NodeLease { try await inner.acquire(for: duration) }

        func renew(_ lease: NodeLease, for duration: Duration, idsThrough: UInt64) async throws -> NodeLease {
            if let failure = failure.withLockedValue({ $0 }) {
                failed.yield()
                throw failure
            }
            let lease = try await inner.renew(lease, for: duration, idsThrough: idsThrough)
            renewed.yield(lease)
            return lease
        }

        func release(_ lease: NodeLease) async throws { try await inner.release(lease) }
    }

    private let store = WatchedStore()

    private func keeper(_ duration: Duration) async throws -> NodeLeaseKeeper {
        try await NodeLeaseKeeper(store: store, clock: SystemClock(), duration: duration, logger: Logger(label: "test"))
    }

    @Test("the bound of the ids is in the store before the first id is given out, and moves with every renewal")
    func bounds() async throws {
        let keeper = try await keeper(.milliseconds(300))
        var renewals = store.renewals.makeAsyncIterator()
        let first = try #require(await renewals.next())
        #expect(first.node == keeper.node)
        #expect(keeper.ids.next(EntryID.self).rawValue <= first.idsThrough)
        let running = Task { try await keeper.run() }
        let second = try #require(await renewals.next())
        #expect(second.idsThrough > first.idsThrough)
        #expect(second.expiresAt > first.expiresAt)
        running.cancel()
        try await running.value
    }

    @Test("a node that stops gives its number back: the next life of it begins after its ids")
    func release() async throws {
        let keeper = try await keeper(.seconds(3600))
        let id = keeper.ids.next(EntryID.self)
        let running = Task { try await keeper.run() }
        running.cancel()
        try await running.value
        for _ in 0..<1023 { _ = try await store.acquire(for: .seconds(3600)) }
        let next = try await self.keeper(.seconds(3600))
        #expect(next.node == NodeID(number: keeper.node.number, epoch: 2))
        #expect(next.ids.next(EntryID.self) > id)
    }

    @Test("a node whose store comes back within the time of the lease goes on")
    func interruption() async throws {
        let keeper = try await keeper(.milliseconds(1500))
        var renewals = store.renewals.makeAsyncIterator()
        _ = try #require(await renewals.next())
        store.failure.withLockedValue { $0 = ApusError(.storeUnavailable, "gone") }
        let running = Task { try await keeper.run() }
        var failures = store.failures.makeAsyncIterator()
        for _ in 0..<3 { await failures.next() }
        store.failure.withLockedValue { $0 = nil }
        _ = try #require(await renewals.next())
        running.cancel()
        try await running.value
    }

    @Test("a node whose number is another's ends at once")
    func lost() async throws {
        let keeper = try await keeper(.milliseconds(30))
        store.failure.withLockedValue { $0 = ApusError(.conflict, "another's") }
        let error = await #expect(throws: ApusError.self) { try await keeper.run() }
        #expect(error?.code == .conflict)
    }

    @Test("a node that cannot reach the store ends before its number may be another's")
    func unreachable() async throws {
        let keeper = try await keeper(.milliseconds(300))
        store.failure.withLockedValue { $0 = ApusError(.storeUnavailable, "gone") }
        let began = ContinuousClock.now
        let error = await #expect(throws: ApusError.self) { try await keeper.run() }
        #expect(error?.code == .storeUnavailable)
        #expect(ContinuousClock.now - began >= .milliseconds(200), "it tried more than once")
    }
}
