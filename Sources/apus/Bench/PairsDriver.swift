import ApusProtocol
import Foundation
import NIOCore

/// Sends from one session of each pair to the other and checks what arrives. Confined to the worker's event loop.
final class PairsDriver: ScenarioDriver {
    private struct Pair {
        let sender: BenchSession
        let conversation: ConversationID
        let inFlightMax: Int
        var sent: UInt64 = 0
        var inFlight = 0
        /// Intended times of messages that wait because `inFlightMax` are unacknowledged. They count as sent late, not as later.
        var waiting = CircularBuffer<UInt64>()
        var acks = SequenceTracker()
        var deliveries = SequenceTracker()
        var refused: UInt64 = 0
        var lastSeq: Seq?
        var gaps: UInt64 = 0
        var hasUnflushed = false
        var isBroken = false

        var isComplete: Bool {
            isBroken || (inFlight == 0 && waiting.isEmpty && deliveries.count + refused >= sent)
        }
    }

    /// Messages that one tick sends before the loop reads again.
    private static let tickMessagesMax = 256

    private let plan: PairsPlan
    private let loop: NIOIsolatedEventLoop
    private let finished: EventLoopPromise<WorkerResult>
    private var schedule: ArrivalSchedule?
    private var pairs: [Pair] = []
    private var unflushed: [Int] = []
    private var nextPair = 0
    private var measureFrom: UInt64 = 0
    private var end: UInt64 = 0
    private var toAck = LatencyHistogram.latency()
    private var toDelivery = LatencyHistogram.latency()
    private var acknowledgedMeasured: UInt64 = 0
    private var deliveredMeasured: UInt64 = 0
    private var closed = ClosedSessions()
    private var isDraining = false
    private var isFinished = false
    private(set) var progress = WorkerProgress()

    init(plan: PairsPlan, loop: NIOIsolatedEventLoop) {
        self.plan = plan
        self.loop = loop
        finished = loop.nonisolated().makePromise()
    }

    func run(_ sessions: [BenchSession], start: UInt64) -> EventLoopFuture<WorkerResult> {
        measureFrom = start + UInt64(plan.warmupSeconds * 1e9)
        end = measureFrom + UInt64(plan.seconds * 1e9)
        pairs = plan.conversations.enumerated().map { index, conversation in
            let sender = sessions[2 * index]
            let limit = sender.limits.inFlightMax == 0 ? Int.max : Int(sender.limits.inFlightMax)
            return Pair(sender: sender, conversation: conversation, inFlightMax: limit)
        }
        progress.open = sessions.count
        let begin = NIODeadline.uptimeNanoseconds(start)
        switch plan.load {
        case .rate(let rate, let spacing):
            schedule = ArrivalSchedule(rate: rate, spacing: spacing, seed: plan.seed, start: start, end: end)
            loop.scheduleTask(deadline: begin) { [self] in tick() }
        case .window(let window):
            loop.scheduleTask(deadline: begin) { [self] in
                for index in pairs.indices {
                    for _ in 0..<min(window, pairs[index].inFlightMax) { send(on: index, intended: Self.now) }
                }
                flush()
            }
            loop.scheduleTask(deadline: .uptimeNanoseconds(end)) { [self] in drain() }
        }
        return finished.futureResult
    }

    private static var now: UInt64 { NIODeadline.now().uptimeNanoseconds }

    // MARK: Sending

    /// Sends what is due and sleeps until the next arrival.
    private func tick() {
        let now = Self.now
        for _ in 0..<Self.tickMessagesMax {
            guard let intended = schedule?.take(notAfter: now) else { break }
            let index = nextPair
            nextPair = nextPair + 1 == pairs.count ? 0 : nextPair + 1
            if pairs[index].inFlight < pairs[index].inFlightMax {
                send(on: index, intended: intended)
            } else {
                pairs[index].waiting.append(intended)
            }
        }
        flush()
        guard let next = schedule?.upcoming else { return drain() }
        if next <= Self.now {
            loop.execute { [self] in tick() }
        } else {
            loop.scheduleTask(deadline: .uptimeNanoseconds(next)) { [self] in tick() }
        }
    }

    private func send(on index: Int, intended: UInt64) {
        let stamp = BenchStamp(run: plan.run, stream: UInt64(index), index: pairs[index].sent, intended: intended)
        pairs[index].sent += 1
        pairs[index].inFlight += 1
        progress.sent += 1
        let frame = SendFrame(conversation: pairs[index].conversation, clientID: stamp.text, body: stamp.body(bytes: plan.bodyBytes))
        pairs[index].sender.write(frame)
        guard !pairs[index].hasUnflushed else { return }
        pairs[index].hasUnflushed = true
        unflushed.append(index)
    }

    private func flush() {
        for index in unflushed {
            pairs[index].hasUnflushed = false
            pairs[index].sender.flush()
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    /// A place in the window of a pair is free again.
    private func answered(_ index: Int) {
        pairs[index].inFlight -= 1
        if let intended = pairs[index].waiting.popFirst() {
            send(on: index, intended: intended)
        } else if case .window = plan.load, !isDraining {
            send(on: index, intended: Self.now)
        }
    }

    // MARK: Receiving

    func acknowledged(_ ack: AckFrame, on session: BenchSession) {
        guard let stamp = BenchStamp(ack.clientID), stamp.run == plan.run else { return }
        let index = session.index / 2
        let now = Self.now
        pairs[index].acks.arrived(stamp.index)
        progress.acknowledged += 1
        if stamp.intended >= measureFrom { toAck.record(now &- stamp.intended) }
        if now >= measureFrom, now < end { acknowledgedMeasured += 1 }
        answered(index)
    }

    func delivered(_ entry: Entry, on session: BenchSession) {
        guard let stamp = BenchStamp(entry.body), stamp.run == plan.run else { return }
        let index = session.index / 2
        let now = Self.now
        pairs[index].deliveries.arrived(stamp.index)
        if let last = pairs[index].lastSeq, entry.seq > last + 1 { pairs[index].gaps += entry.seq - last - 1 }
        pairs[index].lastSeq = entry.seq
        progress.delivered += 1
        if stamp.intended >= measureFrom { toDelivery.record(now &- stamp.intended) }
        if now >= measureFrom, now < end { deliveredMeasured += 1 }
    }

    func refused(_ error: WireError, on session: BenchSession) {
        guard let stamp = BenchStamp(error.clientID), stamp.run == plan.run else {
            closed.add("error without a send: \(error.code) \(error.message)")
            return
        }
        pairs[session.index / 2].refused += 1
        answered(session.index / 2)
    }

    func readCompleted(on session: BenchSession) {
        flush()
        if isDraining { finishIfComplete() }
    }

    func closed(_ session: BenchSession, reason: String) {
        guard !isFinished else { return }
        closed.add(reason)
        // A session may break before the run begins; then its pair stays without answers.
        if !pairs.isEmpty { pairs[session.index / 2].isBroken = true }
        if isDraining { finishIfComplete() }
    }

    // MARK: The end

    private func drain() {
        isDraining = true
        loop.scheduleTask(in: .nanoseconds(Int64(plan.drainSeconds * 1e9))) { [self] in finish() }
        finishIfComplete()
    }

    private func finishIfComplete() {
        if pairs.allSatisfy(\.isComplete) { finish() }
    }

    private func finish() {
        guard !isFinished else { return }
        isFinished = true
        var result = WorkerResult()
        for pair in pairs {
            result.checks.sent += pair.sent
            result.checks.acknowledged += pair.acks.count
            result.checks.delivered += pair.deliveries.count
            result.checks.refused += pair.refused
            result.checks.unanswered += pair.sent - pair.acks.count - pair.refused
            result.checks.lost += pair.deliveries.lacks(of: pair.acks, sent: pair.sent)
            result.checks.doubled += pair.deliveries.doubled + pair.acks.doubled
            result.checks.reordered += pair.deliveries.reordered
            result.checks.gaps += pair.gaps
        }
        result.toAck = HistogramSnapshot(toAck)
        result.toDelivery = HistogramSnapshot(toDelivery)
        result.acknowledgedMeasured = acknowledgedMeasured
        result.deliveredMeasured = deliveredMeasured
        result.closes = closed.reasons
        result.closedSessions = closed.count
        finished.succeed(result)
    }
}
