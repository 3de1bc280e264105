import ApusProtocol
import NIOCore

/// One session sends to a group at fixed times, all others note when each message arrives. Confined to the worker's event loop.
final class GroupDriver: ScenarioDriver {
    private let plan: GroupPlan
    private let loop: NIOIsolatedEventLoop
    private let finished: EventLoopPromise<WorkerResult>
    private var sender: BenchSession?
    /// Per session: what it got. The sender's own session gets acknowledgements instead.
    private var deliveries: [SequenceTracker] = []
    private var lastSeq: [Seq] = []
    private var gaps: UInt64 = 0
    private var acks = SequenceTracker()
    private var refused: UInt64 = 0
    private var toAck = LatencyHistogram.latency()
    private var perMessage: [LatencyHistogram] = []
    private var closed = ClosedSessions()
    private var isFinished = false
    private(set) var progress = WorkerProgress()

    init(plan: GroupPlan, loop: NIOIsolatedEventLoop) {
        self.plan = plan
        self.loop = loop
        finished = loop.nonisolated().makePromise()
    }

    func run(_ sessions: [BenchSession], start: UInt64) -> EventLoopFuture<WorkerResult> {
        progress.open = sessions.count
        sender = plan.sends ? sessions[0] : nil
        deliveries = Array(repeating: SequenceTracker(), count: sessions.count)
        lastSeq = Array(repeating: 0, count: sessions.count)
        perMessage = Array(repeating: .latency(), count: plan.messages)
        for index in 0..<plan.messages {
            let intended = start + UInt64(Double(index) * plan.intervalSeconds * 1e9)
            guard plan.sends else { break }
            loop.scheduleTask(deadline: .uptimeNanoseconds(intended)) { [self] in send(index, intended: intended) }
        }
        let last = start + UInt64((Double(plan.messages - 1) * plan.intervalSeconds + plan.drainSeconds) * 1e9)
        loop.scheduleTask(deadline: .uptimeNanoseconds(last)) { [self] in finish() }
        return finished.futureResult
    }

    private func send(_ index: Int, intended: UInt64) {
        let stamp = BenchStamp(run: plan.run, stream: 0, index: UInt64(index), intended: intended)
        progress.sent += 1
        sender?.write(SendFrame(conversation: plan.conversation, clientID: stamp.text, body: stamp.body(bytes: plan.bodyBytes)))
        sender?.flush()
    }

    func acknowledged(_ ack: AckFrame, on session: BenchSession) {
        guard let stamp = BenchStamp(ack.clientID), stamp.run == plan.run else { return }
        acks.arrived(stamp.index)
        progress.acknowledged += 1
        toAck.record(NIODeadline.now().uptimeNanoseconds &- stamp.intended)
    }

    func delivered(_ entry: Entry, on session: BenchSession) {
        guard let stamp = BenchStamp(entry.body), stamp.run == plan.run, stamp.index < plan.messages else { return }
        let last = lastSeq[session.index]
        if last != 0, entry.seq > last + 1 { gaps += entry.seq - last - 1 }
        lastSeq[session.index] = entry.seq
        deliveries[session.index].arrived(stamp.index)
        perMessage[Int(stamp.index)].record(NIODeadline.now().uptimeNanoseconds &- stamp.intended)
        progress.delivered += 1
    }

    func refused(_ error: WireError, on session: BenchSession) {
        refused += 1
        closed.add("send refused: \(error.code) \(error.message)")
    }

    func readCompleted(on session: BenchSession) {
        // Sessions read before the run begins, too.
        guard !deliveries.isEmpty else { return }
        let readers = deliveries.count - (plan.sends ? 1 : 0)
        let complete = progress.delivered >= UInt64(readers * plan.messages)
        if complete, !plan.sends || acks.count + refused >= UInt64(plan.messages) { finish() }
    }

    func closed(_ session: BenchSession, reason: String) {
        if !isFinished { closed.add(reason) }
    }

    private func finish() {
        guard !isFinished else { return }
        isFinished = true
        var result = WorkerResult()
        result.checks.sent = progress.sent
        result.checks.acknowledged = acks.count
        result.checks.refused = refused
        result.checks.unanswered = progress.sent - min(progress.sent, acks.count + refused)
        for (index, tracker) in deliveries.enumerated() where !(plan.sends && index == 0) {
            result.checks.delivered += tracker.count
            // Only the sender's worker knows what was acknowledged, so here all that was to be sent counts.
            result.checks.lost += UInt64(plan.messages) - tracker.count
            result.checks.doubled += tracker.doubled
            result.checks.reordered += tracker.reordered
        }
        result.checks.gaps = gaps
        result.toAck = HistogramSnapshot(toAck)
        result.perMessage = perMessage.map(HistogramSnapshot.init)
        result.closes = closed.reasons
        result.closedSessions = closed.count
        finished.succeed(result)
    }
}
