import ApusProtocol
import Testing

@testable import ApusClient

@Suite
struct OutboxTests {
    private static func item(_ position: Int64, _ conversation: UInt64 = 1) -> OutboxItem {
        OutboxItem(
            position: position, conversation: ConversationID(conversation), clientID: "\(position)", kind: .text, body: "\(position)",
            deliverAt: nil)
    }

    private static func drain(_ outbox: inout Outbox, max: Int = .max) -> [String] {
        var sent: [String] = []
        while let item = outbox.next(inFlightMax: max) { sent.append(item.clientID) }
        return sent
    }

    @Test("no more is in flight than the server takes, and conversations take turns")
    func turns() {
        var outbox = Outbox()
        for position in 1...4 as ClosedRange<Int64> { outbox.add(Self.item(position, 1)) }
        for position in 5...6 as ClosedRange<Int64> { outbox.add(Self.item(position, 2)) }
        #expect(Self.drain(&outbox, max: 4) == ["1", "5", "2", "6"])
        #expect(outbox.inFlight == 4)
        #expect(outbox.finished(ConversationID(1), "1")?.position == 1)
        #expect(Self.drain(&outbox, max: 4) == ["3"])
    }

    @Test("after a lost connection everything that is not acknowledged goes out again in its order")
    func disconnected() {
        var outbox = Outbox()
        for position in 1...5 as ClosedRange<Int64> { outbox.add(Self.item(position)) }
        _ = Self.drain(&outbox, max: 4)
        _ = outbox.finished(ConversationID(1), "2")
        outbox.disconnected()
        #expect(Self.drain(&outbox) == ["1", "3", "4", "5"])
    }

    @Test("after a refusal for the time being nothing of the conversation goes out before its time, then all of it in order")
    func refused() {
        var outbox = Outbox()
        for position in 1...4 as ClosedRange<Int64> { outbox.add(Self.item(position)) }
        #expect(Self.drain(&outbox, max: 3) == ["1", "2", "3"])
        outbox.refused(ConversationID(1), "1", until: .seconds(5))
        #expect(Self.drain(&outbox) == [])
        // Not before what was under way with it is answered.
        outbox.tick(.seconds(6))
        #expect(outbox.deadline == nil)
        outbox.refused(ConversationID(1), "2", until: .seconds(5))
        _ = outbox.finished(ConversationID(1), "3")
        #expect(outbox.deadline == .seconds(5))
        outbox.tick(.seconds(4))
        #expect(Self.drain(&outbox) == [])
        outbox.tick(.seconds(5))
        #expect(Self.drain(&outbox) == ["1", "2", "4"])
        #expect(outbox.inFlight == 3)
    }

    @Test("an older message that is adopted goes before the younger ones that are not on their way")
    func adopted() {
        var outbox = Outbox()
        for position in [10, 11, 12] as [Int64] { outbox.add(Self.item(position)) }
        _ = outbox.next(inFlightMax: 1)
        outbox.add(Self.item(3))
        #expect(Self.drain(&outbox) == ["3", "11", "12"])
    }

    @Test(
        "whatever is lost, refused or cut off, each message is appended once and in order per conversation",
        arguments: 0..<200 as Range<UInt64>)
    func randomRuns(seed: UInt64) {
        var run = RandomRun(seed: seed)
        run.go()
        for (conversation, log) in run.server.logs {
            #expect(log == log.sorted(), "conversation \(conversation)")
            #expect(Set(log).count == log.count)
        }
        #expect(run.server.logs.values.map(\.count).reduce(0, +) == run.added)
        #expect(run.outbox.count == 0)
        #expect(run.outbox.bytes == 0)
        #expect(run.outbox.inFlight == 0)
    }

    /// What a server does with sends: appends each name once, and after a refusal refuses the conversation until the name comes again.
    private struct Server {
        var logs: [ConversationID: [Int64]] = [:]
        var stalled: [ConversationID: String] = [:]

        mutating func append(_ item: OutboxItem) {
            if logs[item.conversation]?.contains(item.position) != true { logs[item.conversation, default: []].append(item.position) }
        }
    }

    private struct RandomRun {
        private enum Answer {
            case ack
            case refusal
        }

        private var random: SeededGenerator
        private var now: Duration = .zero
        private var answers: [(OutboxItem, Answer)] = []
        var outbox = Outbox()
        var server = Server()
        var added = 0

        init(seed: UInt64) { random = SeededGenerator(seed: seed) }

        mutating func go() {
            for _ in 0..<300 { step(Int.random(in: 0..<100, using: &random)) }
            var turns = 0
            while outbox.count > 0, turns < 10_000 {
                turns += 1
                now += .seconds(1)
                outbox.tick(now)
                send(refuses: false)
                answer()
            }
        }

        private mutating func step(_ choice: Int) {
            now += .milliseconds(100)
            switch choice {
            case 0..<35:
                added += 1
                outbox.add(OutboxTests.item(Int64(added), UInt64.random(in: 1...3, using: &random)))
            case 35..<60: send(refuses: true)
            case 60..<92: answer()
            case 92..<96: outbox.tick(now)
            default:
                answers = []
                server.stalled = [:]
                outbox.disconnected()
            }
        }

        private mutating func send(refuses: Bool) {
            guard let item = outbox.next(inFlightMax: 5) else { return }
            if let name = server.stalled[item.conversation], name != item.clientID { return answers.append((item, .refusal)) }
            if refuses, Int.random(in: 0..<6, using: &random) == 0 {
                server.stalled[item.conversation] = item.clientID
                return answers.append((item, .refusal))
            }
            server.stalled[item.conversation] = nil
            server.append(item)
            answers.append((item, .ack))
        }

        private mutating func answer() {
            guard !answers.isEmpty else { return }
            let (item, answer) = answers.removeFirst()
            switch answer {
            case .ack: _ = outbox.finished(item.conversation, item.clientID)
            case .refusal: outbox.refused(item.conversation, item.clientID, until: now + .milliseconds(300))
            }
        }
    }
}
