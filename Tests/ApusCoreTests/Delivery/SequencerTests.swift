import ApusProtocol
import Dispatch
import Logging
import NIOConcurrencyHelpers
import Testing

@testable import ApusCore

/// A log whose commits wait for the test, and fail when it says so.
private final class ScriptedLog: EntryLog {
    private struct State {
        var head: Seq = 0
        var batches: [[String]] = []
        var failures = 0
    }

    private let state = NIOLockedValueBox(State())
    private let gate = DispatchSemaphore(value: 0)
    let entered = DispatchSemaphore(value: 0)
    private let isGated: Bool

    init(isGated: Bool = false) { self.isGated = isGated }

    var batches: [[String]] { state.withLockedValue { $0.batches } }
    func failNext(_ count: Int) { state.withLockedValue { $0.failures = count } }
    func admit(_ commits: Int) { for _ in 0..<commits { gate.signal() } }

    func append(_ batch: [NewEntry]) throws -> [AppendOutcome] {
        entered.signal()
        if isGated { gate.wait() }
        return try state.withLockedValue { state in
            if state.failures > 0 {
                state.failures -= 1
                throw ApusError(.storeUnavailable, "disk full")
            }
            state.batches.append(batch.map(\.clientID))
            return batch.map { entry in
                if entry.clientID == "stranger" { return .refused(.notMember) }
                state.head += 1
                return .appended(seq: state.head, audience: Audience([entry.sender], rosterSeq: 1))
            }
        }
    }

    func entries(of: ConversationID, in: ClosedRange<Seq>, limit: Int, bytesMax: Int) async throws -> [Entry] { [] }
    func head(of: ConversationID) async throws -> Seq { state.withLockedValue { $0.head } }
    func heads(of: AccountID, since: LogPosition, after: ConversationID?, limit: Int) async throws -> HeadPage {
        HeadPage(heads: [], position: .start)
    }
    func movedHeads(since: LogPosition, limit: Int) async throws -> HeadPage { HeadPage(heads: [], position: .start) }
    func position() async throws -> LogPosition { .start }
}

/// Remembers what was handed over, and lets a test await it.
private final class Recorder: Handover {
    private let results: AsyncStream<AppendResult>
    private let continuation: AsyncStream<AppendResult>.Continuation

    init() { (results, continuation) = AsyncStream.makeStream() }

    func handOver(_ batch: [AppendResult]) { for result in batch { continuation.yield(result) } }
    func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {}
    func repair(_ head: ConversationHead, audience: Audience) {}

    func next(_ count: Int) async -> [AppendResult] {
        var found: [AppendResult] = []
        for await result in results {
            found.append(result)
            if found.count == count { break }
        }
        return found
    }
}

@Suite("Sequencer")
struct SequencerTests {
    private let address = SessionAddress(loop: 0, session: SessionID(9))

    private func draft(_ clientID: String, conversation: UInt64 = 1) -> EntryDraft {
        EntryDraft(conversation: ConversationID(conversation), sender: AccountID(1), clientID: clientID, kind: .text, body: "x")
    }

    private func make(_ log: ScriptedLog, limits: Sequencer.Limits = .init()) -> (Sequencer, Recorder) {
        let recorder = Recorder()
        let clock = SystemClock()
        let sequencer = Sequencer(
            log: log, handover: recorder, ids: IDGenerator(node: 0, clock: clock), clock: clock, limits: limits,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        return (sequencer, recorder)
    }

    private func describe(_ results: [AppendResult]) -> [String] {
        results.map { result in
            switch result.outcome {
            case .committed(let entry, _, _): "\(result.clientID)=\(entry.seq)"
            case .refused(let error): "\(result.clientID):\(error.code.rawValue)"
            }
        }
    }

    @Test("what arrives during a commit is committed together, in its order")
    func groupCommit() async {
        let log = ScriptedLog(isGated: true)
        let (sequencer, recorder) = make(log)
        #expect(sequencer.submit(draft("a"), from: address, ref: 1))
        log.entered.wait()
        for name in ["b", "c", "d"] { #expect(sequencer.submit(draft(name), from: address, ref: 1)) }
        log.admit(2)
        #expect(describe(await recorder.next(4)) == ["a=1", "b=2", "c=3", "d=4"])
        #expect(log.batches == [["a"], ["b", "c", "d"]])
    }

    @Test("a batch has its bound, and so has the queue")
    func bounds() async {
        let log = ScriptedLog(isGated: true)
        let (sequencer, recorder) = make(log, limits: .init(batchMax: 2, queueMax: 3))
        _ = sequencer.submit(draft("a"), from: address, ref: 1)
        log.entered.wait()
        for name in ["b", "c", "d"] { #expect(sequencer.submit(draft(name), from: address, ref: 1)) }
        #expect(!sequencer.submit(draft("e"), from: address, ref: 1))
        log.admit(3)
        _ = await recorder.next(4)
        #expect(log.batches == [["a"], ["b", "c"], ["d"]])
    }

    @Test("after a failed commit a session's later sends to that conversation wait for the failed one")
    func barrier() async {
        let log = ScriptedLog()
        let (sequencer, recorder) = make(log)
        log.failNext(1)
        _ = sequencer.submit(draft("a"), from: address, ref: 1)
        #expect(describe(await recorder.next(1)) == ["a:store_unavailable"])
        _ = sequencer.submit(draft("b"), from: address, ref: 1)
        #expect(describe(await recorder.next(1)) == ["b:store_unavailable"])
        _ = sequencer.submit(draft("other", conversation: 2), from: address, ref: 1)
        #expect(describe(await recorder.next(1)) == ["other=1"])
        _ = sequencer.submit(draft("c"), from: SessionAddress(loop: 0, session: SessionID(10)), ref: 1)
        #expect(describe(await recorder.next(1)) == ["c=2"])
        _ = sequencer.submit(draft("a"), from: address, ref: 1)
        #expect(describe(await recorder.next(1)) == ["a=3"])
        _ = sequencer.submit(draft("b"), from: address, ref: 1)
        #expect(describe(await recorder.next(1)) == ["b=4"])
    }

    @Test("a call returns the receipt or throws the refusal")
    func call() async throws {
        let (sequencer, _) = make(ScriptedLog())
        #expect(try await sequencer.append(draft("a")).seq == 1)
        await #expect { try await sequencer.append(draft("stranger")) } throws: { ($0 as? ApusError)?.code == .notMember }
    }

    @Test("close commits what waits and refuses what comes after")
    func close() async {
        let log = ScriptedLog(isGated: true)
        let (sequencer, recorder) = make(log)
        _ = sequencer.submit(draft("a"), from: address, ref: 1)
        log.entered.wait()
        _ = sequencer.submit(draft("b"), from: address, ref: 1)
        log.admit(2)
        await sequencer.close()
        #expect(describe(await recorder.next(2)) == ["a=1", "b=2"])
        #expect(!sequencer.submit(draft("c"), from: address, ref: 1))
        await #expect { try await sequencer.append(draft("c")) } throws: { ($0 as? ApusError)?.code == .shuttingDown }
    }
}

@Suite("Sync token")
struct SyncTokenTests {
    @Test("a round of several pages ends at the position where it began")
    func round() throws {
        let start = try #require(SyncToken(""))
        let second = start.following(position: LogPosition(rawValue: 50), after: ConversationID(7))
        #expect(second.since == .start)
        let parsed = try #require(SyncToken(second.description))
        #expect(parsed == second)
        let end = parsed.following(position: LogPosition(rawValue: 60), after: nil)
        #expect(end == SyncToken(since: LogPosition(rawValue: 50)))
        #expect(SyncToken(end.description) == end)
    }

    @Test("what is no token is refused", arguments: ["x", "1.2", "1.2.3.4", ".", "-1", "1..3", "99999999999999999999"])
    func refused(text: String) {
        #expect(SyncToken(text) == nil)
    }
}

@Suite("Rules of a send")
struct SendRulesTests {
    private let rules = SendRules(bodyBytesMax: 10)

    private func code(_ change: (inout SendFrame) -> Void) -> ErrorCode? {
        var frame = SendFrame(conversation: ConversationID(1), clientID: "c-1", body: "hello")
        change(&frame)
        return rules.refusal(of: frame, now: Timestamp(milliseconds: 0))?.code
    }

    @Test("a plain text and a JSON document pass")
    func fine() {
        #expect(code { _ in } == nil)
        #expect(
            code {
                $0.kind = EntryKind(rawValue: "poll.v1")
                $0.body = "{\"a\":1}"
            } == nil)
    }

    @Test("each broken field has its code")
    func broken() {
        #expect(code { $0.conversation = ConversationID(0) } == .invalidArgument)
        for id in ["", String(repeating: "a", count: 65), "a b", "é", "apus:1", "a\u{0}"] {
            #expect(code { $0.clientID = id } == .invalidArgument)
        }
        #expect(code { $0.body = "" } == .invalidArgument)
        #expect(code { $0.body = "a\u{0}b" } == .invalidArgument)
        #expect(code { $0.body = String(repeating: "é", count: 6) } == .tooLarge)
        #expect(code { $0.kind = .system } == .invalidArgument)
        #expect(code { $0.kind = EntryKind(rawValue: "Poll") } == .invalidArgument)
        #expect(code { $0.kind = .custom } == .invalidArgument)
        #expect(code { $0.deliverAt = Timestamp(milliseconds: 367 * 86_400_000) } == .invalidArgument)
    }
}

@Suite("Alarm")
struct AlarmTests {
    @Test("a ring ends a sleep, also one that came before it")
    func rings() async {
        let alarm = Alarm()
        alarm.ring()
        await alarm.sleep(atMost: .seconds(3600))
        async let slept: Void = alarm.sleep(atMost: .seconds(3600))
        alarm.ring()
        await slept
    }

    @Test("time ends a sleep, and so does cancellation")
    func ends() async {
        let alarm = Alarm()
        await alarm.sleep(atMost: .milliseconds(5))
        let task = Task { await alarm.sleep(atMost: .seconds(3600)) }
        task.cancel()
        await task.value
    }
}
