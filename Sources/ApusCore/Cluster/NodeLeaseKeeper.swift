import ApusProtocol
import Logging
import ServiceLifecycle

/// Holds the node's number for as long as it runs, and bounds the ids of this life: each renewal notes how far ids may go until the
/// one after the next, before any of them is given out.
///
/// ``run()`` throws when the lease is lost, or may be because the store has not answered for too long: the process has to end, and a
/// service group ends with it.
public struct NodeLeaseKeeper: Service {
    public let node: NodeID
    /// The one source of ids in this process.
    public let ids: IDGenerator

    private let store: any NodeLeaseStore
    private let duration: Duration
    private let lease: NodeLease
    /// Before this the number is certainly still this node's.
    private let holdsUntil: ContinuousClock.Instant
    private let logger: Logger

    /// Takes a number. It is held for `duration`; ``run()`` must begin before that is over.
    /// - Throws: ``ApusError`` `overloaded` when all numbers are taken, `store_unavailable`.
    public init(
        store: any NodeLeaseStore, clock: any WallClock, duration: Duration = .seconds(30), logger: Logger
    ) async throws {
        let acquired = try await store.acquire(for: duration)
        let ids = IDGenerator(node: acquired.node.number, clock: clock, after: acquired.idsThrough, through: acquired.idsThrough)
        let asked = ContinuousClock.now
        let bound = ids.bound(after: Self.idsAhead(duration))
        lease = try await store.renew(acquired, for: duration, idsThrough: bound)
        ids.reserve(through: bound)
        holdsUntil = asked + duration
        node = acquired.node
        self.ids = ids
        self.store = store
        self.duration = duration
        self.logger = logger
    }

    public func run() async throws {
        let lost = try await cancelWhenGracefulShutdown { try await renewUntilCancelled() }
        if let lost { throw lost }
        do {
            try await store.release(lease)
        } catch {
            // It runs out by itself.
            logger.warning("the node number was not given back", metadata: ["node": "\(node)", "error": "\(error)"])
        }
    }

    /// Ids may go on for this long after a renewal: longer than the lease, so that they never run out in a node that holds it.
    private static func idsAhead(_ duration: Duration) -> Duration { duration * 2 }

    /// Returns why the lease is lost; nil: it was cancelled.
    private func renewUntilCancelled() async throws -> (any Error)? {
        var lease = lease
        var holdsUntil = holdsUntil
        // Often enough that one try which hangs until its deadline leaves time for another one.
        var pause = duration / 6
        while true {
            do {
                try await Task.sleep(for: pause)
            } catch {
                return nil
            }
            let asked = ContinuousClock.now
            do {
                let bound = ids.bound(after: Self.idsAhead(duration))
                lease = try await store.renew(lease, for: duration, idsThrough: bound)
                ids.reserve(through: bound)
                holdsUntil = asked + duration
                pause = duration / 6
            } catch let error as ApusError where error.code == .conflict {
                logger.critical("the node number is another node's now; this process ends", metadata: ["node": "\(node)"])
                return error
            } catch {
                if Task.isCancelled { return nil }
                pause = duration / 15
                let now = ContinuousClock.now
                // Without time for one more that takes as long, the number may be gone by its end.
                guard now + pause + (now - asked) < holdsUntil else {
                    logger.critical(
                        "the node number could not be renewed in time; this process ends",
                        metadata: ["node": "\(node)", "error": "\(error)"])
                    return ApusError(.storeUnavailable, "the node number could not be renewed in time", cause: error)
                }
                logger.warning("the node number was not renewed", metadata: ["node": "\(node)", "error": "\(error)"])
            }
        }
    }
}
