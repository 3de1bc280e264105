import ApusProtocol
import Testing

@testable import ApusClient

@Suite
struct ConversationReaderTests {
    private static func entry(_ seq: Seq) -> Entry {
        Entry(
            conversation: testConversation, seq: seq, id: EntryID(seq), sender: testPeer, at: Timestamp(milliseconds: Int64(seq)),
            kind: .text, body: "\(seq)")
    }

    @Test("the next entry is delivered, one that was delivered before is ignored")
    func inOrder() {
        var reader = ConversationReader(cursor: 4)
        #expect(reader.received(Self.entry(5)) == [.deliver(after: 4, through: 5, entries: [Self.entry(5)])])
        #expect(reader.received(Self.entry(5)) == [])
        #expect(reader.received(Self.entry(2)) == [])
        #expect(reader.cursor == 5)
    }

    @Test("an entry behind a gap waits for the page that fills it")
    func gap() {
        var reader = ConversationReader(cursor: 0)
        #expect(reader.received(Self.entry(3)) == [.pull])
        #expect(reader.startPull() == 1)
        #expect(
            reader.received(entries: [Self.entry(1), Self.entry(2)], through: 2, head: 3)
                == [.deliver(after: 0, through: 3, entries: [1, 2, 3].map(Self.entry))])
    }

    @Test("a page that ends before the head is followed by a pull of the next one")
    func pages() {
        var reader = ConversationReader(cursor: 0)
        #expect(reader.headMoved(to: 4) == [.pull])
        #expect(reader.startPull() == 1)
        #expect(
            reader.received(entries: [1, 2].map(Self.entry), through: 2, head: 4)
                == [.deliver(after: 0, through: 2, entries: [1, 2].map(Self.entry)), .pull])
        #expect(reader.startPull() == 3)
    }

    @Test("a page that brings nothing ends the pulling until the head moves: no endless questions")
    func noProgress() {
        var reader = ConversationReader(cursor: 7)
        #expect(reader.headMoved(to: 9) == [.pull])
        #expect(reader.startPull() == 8)
        #expect(reader.received(entries: [], through: 7, head: 9) == [])
        #expect(reader.headMoved(to: 10) == [.pull])
        #expect(reader.startPull() == 8)
        #expect(reader.reset(first: 8, head: 10) == [])
    }

    @Test("what was delivered and could not be stored is delivered again")
    func rewind() {
        var reader = ConversationReader(cursor: 0)
        _ = reader.received(Self.entry(1))
        reader.rewind(to: 0)
        #expect(reader.resume() == [.pull])
        #expect(reader.startPull() == 1)
    }

    @Test(
        "whatever is lost, doubled, hidden, delayed or cut off, the visible entries are delivered once each and in order",
        arguments: 0..<300 as Range<UInt64>)
    func randomInterleavings(seed: UInt64) throws {
        var run = RandomRun(seed: seed)
        run.go()
        #expect(run.delivered == run.visible)
    }

    /// A server's log, a lossy connection and a reader, in an order that the seed decides.
    private struct RandomRun {
        private var random: SeededGenerator
        private var reader = ConversationReader(cursor: 0)
        private var head: Seq = 0
        private var hidden: Set<Seq> = []
        /// Pushed and not yet arrived.
        private var pushes: [Seq] = []
        private var wantsPull = false
        /// A page on its way.
        private var page: (from: Seq, through: Seq)?
        private(set) var delivered: [Seq] = []

        var visible: [Seq] { (1...max(1, head)).filter { $0 <= head && !hidden.contains($0) } }

        init(seed: UInt64) { random = SeededGenerator(seed: seed) }

        mutating func go() {
            for _ in 0..<200 { step() }
            // In the end the connection is new and loses nothing.
            reader.disconnected()
            (pushes, page, wantsPull) = ([], nil, false)
            perform(reader.headMoved(to: head) + reader.resume())
            var turns = 0
            while wantsPull || page != nil, turns < 10_000 {
                turns += 1
                answerPull()
                arrivePage()
            }
        }

        private mutating func step() {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<35: append()
            case 35..<60: arrivePush()
            case 60..<75: answerPull()
            case 75..<88: arrivePage()
            case 88..<94: perform(reader.headMoved(to: head))
            case 94..<97:
                reader.disconnected()
                (pushes, page, wantsPull) = ([], nil, false)
                perform(reader.resume())
            default: rewindLast()
            }
        }

        private mutating func append() {
            head += 1
            if Bool.random(using: &random), Bool.random(using: &random) { hidden.insert(head) }
            guard !hidden.contains(head) else { return }
            let lost = Int.random(in: 0..<4, using: &random) == 0
            if !lost { pushes.append(head) }
            if Int.random(in: 0..<8, using: &random) == 0 { pushes.append(head) }
        }

        private mutating func arrivePush() {
            guard !pushes.isEmpty else { return }
            // Not always in order: two paths lead to a reader.
            let index = Int.random(in: 0..<min(3, pushes.count), using: &random)
            perform(reader.received(ConversationReaderTests.entry(pushes.remove(at: index))))
        }

        private mutating func answerPull() {
            guard wantsPull, page == nil else { return }
            wantsPull = false
            guard let from = reader.startPull() else { return }
            page = (from, max(from - 1, min(head, from + Seq.random(in: 0..<6, using: &random))))
        }

        private mutating func arrivePage() {
            guard let (from, through) = page else { return }
            page = nil
            let entries = from <= through ? (from...through).filter { !hidden.contains($0) }.map(ConversationReaderTests.entry) : []
            perform(reader.received(entries: entries, through: through, head: head))
        }

        /// The store refuses what was delivered last: the client takes it back and connects anew.
        private mutating func rewindLast() {
            let before = reader.cursor
            let count = delivered.count
            perform(reader.headMoved(to: head))
            delivered.removeLast(delivered.count - count)
            reader.rewind(to: before)
            (pushes, page, wantsPull) = ([], nil, false)
            perform(reader.resume())
        }

        private mutating func perform(_ actions: [ConversationReader.Action]) {
            for action in actions {
                switch action {
                case .deliver(_, _, let entries): delivered += entries.map(\.seq)
                case .pull: wantsPull = true
                case .restart: Issue.record("nothing was reset")
                }
            }
        }
    }
}

/// SplitMix64: the same numbers from the same seed, on every machine.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
