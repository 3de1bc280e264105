import ApusProtocol
import NIOCore

/// A scenario as a worker runs it. Confined to the worker's event loop.
protocol ScenarioDriver: BenchSessionDelegate {
    var progress: WorkerProgress { get }
    /// Begins at `start`, when all sessions are open. The result comes on the same loop, also when sessions fail.
    func run(_ sessions: [BenchSession], start: UInt64) -> EventLoopFuture<WorkerResult>
    /// For the heartbeats of sessions that the driver opened itself.
    func everySecond(_ now: NIODeadline)
}

extension ScenarioDriver {
    func everySecond(_ now: NIODeadline) {}
}

/// Sessions that ended although nobody asked them to.
struct ClosedSessions {
    private(set) var count = 0
    private(set) var reasons: [String] = []
    private static let reasonsMax = 5

    mutating func add(_ reason: String) {
        count += 1
        if reasons.count < Self.reasonsMax, !reasons.contains(reason) { reasons.append(reason) }
    }
}

/// Holds its sessions for a while.
final class IdleDriver: ScenarioDriver {
    private let seconds: Double
    private let loop: NIOIsolatedEventLoop
    private var open = 0
    private var closed = ClosedSessions()

    init(seconds: Double, loop: NIOIsolatedEventLoop) {
        self.seconds = seconds
        self.loop = loop
    }

    var progress: WorkerProgress { WorkerProgress(open: open - closed.count) }

    func run(_ sessions: [BenchSession], start: UInt64) -> EventLoopFuture<WorkerResult> {
        open = sessions.count
        let end = NIODeadline.uptimeNanoseconds(start) + .nanoseconds(Int64(seconds * 1e9))
        return loop.scheduleTask(deadline: end) { [self] in
            WorkerResult(closes: closed.reasons, closedSessions: closed.count)
        }.futureResult
    }

    func acknowledged(_ ack: AckFrame, on session: BenchSession) {}
    func delivered(_ entry: Entry, on session: BenchSession) {}
    func refused(_ error: WireError, on session: BenchSession) {}
    func readCompleted(on session: BenchSession) {}
    func closed(_ session: BenchSession, reason: String) { closed.add(reason) }
}
