import ApusProtocol
import Foundation
import NIOCore

/// Sessions whose node is killed: each finds another node, catches up, and writes one message to its partner, which may be away still and
/// then gets it by its own catching up. Confined to the worker's event loop.
///
/// It is run twice: first the sessions learn where they stand, then the node is killed.
final class ReconnectDriver: ScenarioDriver {
    /// A client: it outlives its sessions.
    private struct Seat {
        var session: BenchSession
        var conversation: ConversationID
        /// Opaque; of the last sync.
        var syncToken = ""
        /// Up to where the seat has everything.
        var cursors: [ConversationID: Seq] = [:]
        /// What is known to be in a log beyond the cursor.
        var heads: [ConversationID: Seq] = [:]
        var pullsMissing = 0
        var failures = 0
        var isBroken = false
        var isSynced = false
        var isAcknowledged = false
        var hasPartnersMessage = false
    }

    private let plan: ReconnectPlan
    private let worker: WorkerPlan
    private let loop: NIOIsolatedEventLoop
    private let api: BenchAPI
    private var seats: [Seat] = []
    private var start: UInt64?
    /// Of the run that is under way.
    private var finished: EventLoopPromise<WorkerResult>?
    private var isFinished: Bool { finished == nil }
    private var random: SplitMix64
    private var toSync = LatencyHistogram.latency()
    private var toDelivery = LatencyHistogram.latency()
    private var refusals = ClosedSessions()

    init(plan: ReconnectPlan, worker: WorkerPlan, loop: NIOIsolatedEventLoop) {
        self.plan = plan
        self.worker = worker
        self.loop = loop
        api = BenchAPI(server: plan.server)
        random = SplitMix64(seed: plan.seed)
    }

    private static var now: UInt64 { NIODeadline.now().uptimeNanoseconds }

    var progress: WorkerProgress {
        WorkerProgress(
            open: seats.count { $0.isSynced }, sent: UInt64(seats.count { $0.isBroken && $0.isSynced }),
            acknowledged: UInt64(seats.count { $0.isAcknowledged }), delivered: UInt64(seats.count { $0.hasPartnersMessage }))
    }

    func run(_ sessions: [BenchSession], start: UInt64) -> EventLoopFuture<WorkerResult> {
        let finished = loop.nonisolated().makePromise(of: WorkerResult.self)
        self.finished = finished
        if seats.isEmpty {
            seats = sessions.map { Seat(session: $0, conversation: plan.conversations[$0.index / 2]) }
            for index in seats.indices { sync(index) }
        } else {
            self.start = start
        }
        let limit = NIODeadline.uptimeNanoseconds(start) + .nanoseconds(Int64(plan.limitSeconds * 1e9))
        let timer = loop.scheduleTask(deadline: limit) { [self] in finish() }
        let result = finished.futureResult.assumeIsolated()
        result.whenComplete { _ in timer.cancel() }
        return result.nonisolated()
    }

    func everySecond(_ now: NIODeadline) {
        for seat in seats { seat.session.pingIfSilent(since: now) }
    }

    // MARK: The way back

    func closed(_ session: BenchSession, reason: String) {
        guard !seats.isEmpty, seats[session.index].session === session, !isFinished else { return }
        guard start != nil else { return refusals.add(reason) }
        seats[session.index].isBroken = true
        seats[session.index].isSynced = false
        reconnect(session.index)
    }

    /// After a pause that is random and grows, as the SDK's.
    private func reconnect(_ index: Int) {
        let seat = seats[index]
        let pauseMax = min(8_000, 500 << min(seat.failures, 4))
        let pause = Int64.random(in: Int64(pauseMax / 2)...Int64(pauseMax), using: &random)
        let (api, carrier, token) = (api, seat.session.node.carrier, worker.tokens[index])
        let avoided = seat.session.node.url
        loop.scheduleTask(in: .milliseconds(pause)) { [self] in
            loop.nonisolated().makeFutureWithTask {
                try await api.node(carrier: carrier, token: token, avoiding: avoided)
            }.assumeIsolated().whenComplete { [self] outcome in
                guard !isFinished else { return }
                switch outcome {
                case .success(let node): connect(index, node)
                case .failure: retry(index)
                }
            }
        }
    }

    private func connect(_ index: Int, _ node: BenchNode) {
        do {
            let (session, opened) = try BenchSession.connect(
                index: index, node: node, token: worker.tokens[index], source: worker.source, delegate: self, on: loop.nonisolated())
            seats[index].session = session
            opened.assumeIsolated().whenComplete { [self] outcome in
                switch outcome {
                case .success:
                    seats[index].failures = 0
                    sync(index)
                case .failure: retry(index)
                }
            }
        } catch {
            refusals.add("\(error)")
            retry(index)
        }
    }

    private func retry(_ index: Int) {
        seats[index].failures += 1
        if !isFinished { reconnect(index) }
    }

    private func sync(_ index: Int) {
        var sync = WireSync()
        sync.token = seats[index].syncToken
        seats[index].session.write(.sync(sync))
        seats[index].session.flush()
    }

    func received(_ body: WireServerFrame.OneOf_Body, on session: BenchSession) {
        let index = session.index
        guard !seats.isEmpty, seats[index].session === session else { return }
        switch body {
        case .heads(let heads):
            seats[index].syncToken = heads.token
            for head in heads.heads { take(ConversationID(head.conversation), through: head.seq, index) }
            if heads.more { sync(index) } else { finishSync(index) }
        // What a hand-over missed, by the server's sweep.
        case .head(let head): take(ConversationID(head.conversation), through: head.seq, index)
        case .page(let page):
            let conversation = ConversationID(page.conversation)
            seats[index].pullsMissing -= 1
            for entry in page.entries { note(Entry(entry), index) }
            seats[index].cursors[conversation] = max(page.through, seats[index].cursors[conversation] ?? 0)
            take(conversation, through: max(page.head, seats[index].heads[conversation] ?? 0), index)
            finishSync(index)
            finishIfComplete()
        default: break
        }
    }

    /// Before the node is killed, what is in a log is of no interest.
    private func take(_ conversation: ConversationID, through seq: Seq, _ index: Int) {
        guard start != nil else { return seats[index].cursors[conversation] = seq }
        let cursor = seats[index].cursors[conversation] ?? 0
        if seq > cursor { pull(conversation, from: cursor + 1, index) }
    }

    private func pull(_ conversation: ConversationID, from seq: Seq, _ index: Int) {
        var pull = WirePull()
        pull.conversation = conversation.rawValue
        pull.from = seq
        seats[index].pullsMissing += 1
        seats[index].session.write(.pull(pull))
        seats[index].session.flush()
    }

    /// Nothing is missing any more.
    private func finishSync(_ index: Int) {
        guard !seats[index].isSynced, seats[index].pullsMissing == 0 else { return }
        seats[index].isSynced = true
        if let start, seats[index].isBroken {
            toSync.record(Self.now &- start)
            write(index, since: start)
        }
        finishIfComplete()
    }

    // MARK: Messages

    private func write(_ index: Int, since start: UInt64) {
        guard !seats[index].isAcknowledged else { return }
        // The same name as before, if its acknowledgement was lost.
        let stamp = BenchStamp(run: plan.run, stream: UInt64(index), index: 0, intended: start)
        seats[index].session.write(
            SendFrame(conversation: seats[index].conversation, clientID: stamp.text, body: stamp.body(bytes: plan.bodyBytes)))
        seats[index].session.flush()
    }

    func acknowledged(_ ack: AckFrame, on session: BenchSession) {
        guard BenchStamp(ack.clientID)?.run == plan.run else { return }
        seats[session.index].isAcknowledged = true
        // It stands for the entry: what is before it and was not pushed is missing.
        advance(ack.conversation, to: ack.seq, session.index)
        finishIfComplete()
    }

    func delivered(_ entry: Entry, on session: BenchSession) {
        let index = session.index
        guard !seats.isEmpty, seats[index].session === session, start != nil else { return }
        if advance(entry.conversation, to: entry.seq, index) { note(entry, index) }
        finishIfComplete()
    }

    /// - Returns: whether it was the next; if it is a later one, what is missing is pulled.
    @discardableResult
    private func advance(_ conversation: ConversationID, to seq: Seq, _ index: Int) -> Bool {
        let cursor = seats[index].cursors[conversation] ?? 0
        guard seq != cursor + 1 else {
            seats[index].cursors[conversation] = seq
            return true
        }
        // With a pull under way its page says where to go on.
        seats[index].heads[conversation] = max(seq, seats[index].heads[conversation] ?? 0)
        if seq > cursor, seats[index].pullsMissing == 0 { pull(conversation, from: cursor + 1, index) }
        return false
    }

    private func note(_ entry: Entry, _ index: Int) {
        guard let start, let stamp = BenchStamp(entry.body), stamp.run == plan.run, stamp.stream == UInt64(index ^ 1) else { return }
        guard !seats[index].hasPartnersMessage else { return }
        seats[index].hasPartnersMessage = true
        toDelivery.record(Self.now &- start)
    }

    func refused(_ error: WireError, on session: BenchSession) { refusals.add("refused: \(error.code) \(error.message)") }

    func readCompleted(on session: BenchSession) {}

    // MARK: The end

    private func finishIfComplete() {
        guard !isFinished else { return }
        if start == nil {
            if seats.allSatisfy(\.isSynced) { finish() }
            return
        }
        let isComplete = seats.indices.allSatisfy { index in
            !seats[index].isBroken || (seats[index].isSynced && seats[index].isAcknowledged && seats[index ^ 1].hasPartnersMessage)
        }
        if isComplete, seats.contains(where: \.isBroken) { finish() }
    }

    private func finish() {
        guard let finished else { return }
        self.finished = nil
        var result = WorkerResult()
        let broken = seats.indices.filter { seats[$0].isBroken }
        let missing = seats.count { !$0.isSynced }
        if missing > 0 { refusals.add("\(missing) sessions were not in sync within \(plan.limitSeconds) s") }
        if start != nil, broken.isEmpty { refusals.add("no session broke: was that the process of a socket node?") }
        result.checks.sent = UInt64(broken.count { seats[$0].isSynced })
        result.checks.acknowledged = UInt64(broken.count { seats[$0].isAcknowledged })
        result.checks.delivered = UInt64(broken.count { seats[$0 ^ 1].hasPartnersMessage })
        result.checks.unanswered = result.checks.sent - result.checks.acknowledged
        result.checks.lost = UInt64(broken.count { seats[$0].isAcknowledged && !seats[$0 ^ 1].hasPartnersMessage })
        result.toSync = HistogramSnapshot(toSync)
        result.toDelivery = HistogramSnapshot(toDelivery)
        result.closes = refusals.reasons
        result.closedSessions = refusals.count
        finished.succeed(result)
    }
}
