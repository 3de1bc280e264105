import ApusProtocol
import Foundation
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle
import Testing

@testable import ApusCore

private let own = NodeID(number: 1, epoch: 5)
private let second = NodeID(number: 2, epoch: 9)
private let third = NodeID(number: 3, epoch: 1)

@Suite("Hand-over in a cluster", .timeLimit(.minutes(1)))
struct ClusterHandoverTests {
    private let local = JournalSessions()
    private let relay = JournalRelay()

    private func make(_ routes: FakeRoutes, limits: ClusterHandover.Limits = .init()) -> ClusterHandover {
        ClusterHandover(local: local, routes: routes, relay: relay, node: own, limits: limits, clock: HandClock(), logger: silentLogger)
    }

    /// Runs until `body` returns.
    private func running(_ service: some Service, _ body: () async throws -> Void) async throws {
        let task = Task { try await service.run() }
        try await body()
        task.cancel()
        try await task.value
    }

    @Test("readers here get it at once; those elsewhere in one batch per node, after one question for all that waited")
    func batches() async throws {
        let routes = FakeRoutes([1: [own], 2: [second], 3: [second, third, second], 4: [own, third]])
        let handover = make(routes)
        handover.handOver([committed(testEntry(10, 1), to: [1, 2]), committed(testEntry(11, 1), to: [3, 4])])
        handover.handOver([committed(testEntry(10, 2), to: [1, 2], isDuplicate: true)])
        handover.signal(.typing(ConversationID(11), AccountID(4)), to: Audience([AccountID(3), AccountID(4)], rosterSeq: 1), except: nil)
        #expect(await local.journal.next(4) == ["10/1>1,2", "11/1>3,4", "10/2*>1,2", "typing 11 4>3,4"])
        #expect(routes.asked == [])
        try await running(handover) {
            #expect(
                await relay.journal.next(2) == [
                    "2.9: 10/1>2 11/1>3 10/2*>2 typing 11 4>3",
                    "3.1: 11/1>3,4 typing 11 4>3,4",
                ])
        }
        #expect(routes.asked == [4])
        #expect(handover.lossCount == 0)
    }

    @Test("what was refused concerns nobody but its sender, who is here")
    func refused() async throws {
        let handover = make(FakeRoutes([2: [second]]))
        let refusal = AppendResult(
            conversation: ConversationID(1), clientID: "c", origin: nil, outcome: .refused(ApusError(.notMember, "no")))
        handover.handOver([refusal, committed(testEntry(1, 1), to: [2])])
        try await running(handover) { #expect(await relay.journal.next(1) == ["2.9: 1/1>2"]) }
    }

    @Test("a large conversation goes to all nodes without looking its members up")
    func large() async throws {
        let routes = FakeRoutes([2: [second]])
        let handover = make(routes, limits: .init(lookupMembersMax: 3))
        handover.handOver([
            committed(testEntry(1, 7), to: 1...4, rosterSeq: 6), committed(testEntry(1, 8), to: 1...4, rosterSeq: 6, isDuplicate: true),
        ])
        try await running(handover) { #expect(await relay.journal.next(1) == ["all: 1/7>members@6 1/8*>members@6"]) }
        #expect(routes.asked == [])
    }

    @Test("who comes into a large conversation or leaves it is looked up: another node's roster may not know yet")
    func comersAndGoers() async throws {
        let routes = FakeRoutes([3: [third], 9: [second]])
        let handover = make(routes, limits: .init(lookupMembersMax: 3))
        let body = String(decoding: try JSONEncoder().encode(SystemEvent(event: .joined, accounts: [AccountID(9)])), as: UTF8.self)
        handover.handOver([committed(testEntry(1, 7, kind: .system, body: body, sender: 3), to: [1, 2, 3, 4, 9], rosterSeq: 7)])
        try await running(handover) {
            #expect(await relay.journal.next(3) == ["all: 1/7>members@7", "2.9: 1/7>9", "3.1: 1/7>3"])
        }
        #expect(routes.asked == [2])
    }

    @Test("entries of one conversation keep their order when it grows beyond the bound and shrinks again")
    func orderAcrossBound() async throws {
        let handover = make(FakeRoutes([2: [second]]), limits: .init(lookupMembersMax: 3))
        handover.handOver([
            committed(testEntry(1, 1), to: 1...3), committed(testEntry(1, 2), to: 1...4, rosterSeq: 2),
            committed(testEntry(1, 3), to: 1...3, rosterSeq: 3), committed(testEntry(1, 4), to: 1...3, rosterSeq: 3),
        ])
        try await running(handover) {
            #expect(await relay.journal.next(3) == ["2.9: 1/1>2", "all: 1/2>members@2", "2.9: 1/3>2 1/4>2"])
        }
    }

    @Test("one question is about at most 1,000 accounts")
    func questions() async throws {
        let routes = FakeRoutes([2500: [second]])
        let handover = make(routes, limits: .init(lookupMembersMax: 1000))
        let batch = (0..<5).map { (index: Int) -> AppendResult in
            let first = index * 500 + 1
            return committed(testEntry(UInt64(index), 1), to: first...first + 499)
        }
        handover.handOver(batch)
        try await running(handover) { #expect(await relay.journal.next(1) == ["2.9: 4/1>2500"]) }
        #expect(routes.asked == [1000, 1000, 500])
    }

    @Test("when the routes cannot be read the hand-over is dropped and counted, and the next one goes its way")
    func routesFail() async throws {
        let routes = FakeRoutes([2: [second]])
        routes.failNext(1)
        let handover = make(routes)
        await handover.relay([RelayPlan.Item(.entry(testEntry(1, 1), isDuplicate: false), audience: Audience([AccountID(2)], rosterSeq: 1))]
        )
        #expect(handover.lossCount == 1)
        handover.handOver([committed(testEntry(1, 2), to: [2])])
        try await running(handover) { #expect(await relay.journal.next(1) == ["2.9: 1/2>2"]) }
        #expect(handover.lossCount == 1)
        // Nothing is lost for those who are here.
        #expect(await local.journal.next(1) == ["1/2>2"])
    }

    @Test("a full queue drops and counts, and readers here miss nothing")
    func queueFull() async throws {
        let handover = make(FakeRoutes([2: [second]]), limits: .init(queueBytesMax: 600))
        for seq in 1...5 { handover.handOver([committed(testEntry(1, Seq(seq)), to: [2])]) }
        #expect(await local.journal.next(5).count == 5)
        #expect(handover.lossCount == 3)
        try await running(handover) { #expect(await relay.journal.next(1) == ["2.9: 1/1>2 1/2>2"]) }
    }

    @Test("the sweep's repair stays here")
    func repair() async {
        let handover = make(FakeRoutes([2: [second]]))
        handover.repair(ConversationHead(conversation: ConversationID(1), seq: 3), audience: Audience([AccountID(2)], rosterSeq: 1))
        #expect(await local.journal.next(1) == ["repair 1/3>2"])
    }

    @Test("what waits at shutdown is relayed before the service ends")
    func shutdown() async throws {
        let handover = make(FakeRoutes([2: [second]]))
        let group = ServiceGroup(services: [handover], logger: silentLogger)
        handover.handOver([committed(testEntry(1, 1), to: [2])])
        await group.triggerGracefulShutdown()
        try await group.run()
        handover.handOver([committed(testEntry(1, 2), to: [2])])
        #expect(handover.lossCount >= 1)
    }
}

@Suite("Closing sessions in a cluster", .timeLimit(.minutes(1)))
struct ClusterSessionControlTests {
    private let relay = JournalRelay()

    private func close(_ routes: FakeRoutes, local: JournalSessions?) async throws {
        let control = ClusterSessionControl(local: local, routes: routes, relay: relay, node: own, logger: silentLogger)
        try await control.closeSessions(of: [DeviceID(4)], account: AccountID(1), code: .deviceRevoked)
    }

    @Test("sessions here are closed, and each other node with a route of the account is told once")
    func byRoute() async throws {
        let local = JournalSessions()
        try await close(FakeRoutes([1: [own, second, second]]), local: local)
        #expect(await local.journal.next(1) == ["close 1 [4] 4201"])
        #expect(await relay.journal.next(1) == ["2.9: close 1 [4] 4201"])
    }

    @Test("all nodes are told when the routes cannot be read; a node without sessions tells the others only")
    func withoutRoutes() async throws {
        let routes = FakeRoutes()
        routes.failNext(1)
        try await close(routes, local: nil)
        #expect(await relay.journal.next(1) == ["all: close 1 [4] 4201"])
    }
}

@Suite("Work queue", .timeLimit(.minutes(1)))
struct WorkQueueTests {
    @Test("gives all that waits, in order, up to its bound; one that is too large alone fits alone")
    func bound() async {
        let queue = WorkQueue<Int>(costMax: 10)
        #expect(queue.add([4, 5, 6, 1]) { $0 } == 1)
        #expect(await queue.next() == [4, 5, 1])
        #expect(queue.add([50]) { $0 } == 0)
        #expect(queue.add([1]) { $0 } == 1)
        #expect(await queue.next() == [50])
    }

    @Test("a waiting consumer is woken by work, by the end, and by cancellation")
    func wakes() async {
        let queue = WorkQueue<Int>(costMax: 10)
        async let found = queue.next()
        _ = queue.add([1]) { $0 }
        #expect(await found == [1])
        let cancelled = Task { await queue.next() }
        cancelled.cancel()
        #expect(await cancelled.value == nil)
        async let end = queue.next()
        queue.finish()
        #expect(await end == nil)
        #expect(queue.add([1]) { $0 } == 1)
    }
}

@Suite("Loss log")
struct LossLogTests {
    /// Keeps what was said.
    private struct Lines: LogHandler {
        let lines: NIOLockedValueBox<[String]>
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { lines.withLockedValue { $0.append("\(event.metadata?["count"] ?? "")") } }
    }

    @Test("every loss is counted, and said once in ten seconds with all that was lost meanwhile")
    func counts() {
        let clock = HandClock()
        let lines = NIOLockedValueBox<[String]>([])
        let log = LossLog("things were", clock: clock, logger: Logger(label: "test") { _ in Lines(lines: lines) })
        log.lost(2, "full")
        log.lost(3, "full")
        log.lost(0, "full")
        clock.advance(.seconds(10))
        log.lost(4, "full")
        #expect(log.count == 9)
        #expect(lines.withLockedValue { $0 } == ["2", "7"])
    }
}
