import ApusCore
import ApusProtocol
import Testing

@testable import ApusServer

@Suite("Session: what may happen when")
struct SessionMachineTests {
    static let identity = SessionIdentity(account: AccountID(1), device: DeviceID(2))
    static let send = SendFrame(conversation: ConversationID(5), clientID: "c", body: "hi")

    static func hello(_ token: String = "t") -> InboundClientFrame {
        var hello = WireHello()
        hello.accessToken = token
        return .other(WireClientFrame(ref: 7, .hello(hello)))
    }

    static func opened() -> SessionMachine {
        var machine = SessionMachine()
        _ = machine.received(hello())
        _ = machine.admitted(.success(identity))
        return machine
    }

    @Test("hello is checked, then welcomed with its ref")
    func admission() {
        var machine = SessionMachine()
        guard case .admit("t") = machine.received(Self.hello()) else {
            Issue.record("hello not admitted")
            return
        }
        #expect(machine.identity == nil)
        guard case .welcome(ref: 7) = machine.admitted(.success(Self.identity)) else {
            Issue.record("not welcomed")
            return
        }
        #expect(machine.identity == Self.identity)
    }

    @Test("whatever comes before welcome closes the connection")
    func beforeWelcome() {
        var fresh = SessionMachine()
        expectClose(fresh.received(.send(Self.send)), .outOfState)
        var pinging = SessionMachine()
        expectClose(pinging.received(.other(WireClientFrame(.ping(WirePing())))), .outOfState)
        var impatient = SessionMachine()
        _ = impatient.received(Self.hello())
        expectClose(impatient.received(.send(Self.send)), .outOfState)
        var garbled = SessionMachine()
        expectClose(garbled.receivedMalformed("x"), .malformed)
    }

    @Test("a refused token says log in again, a store that is away says reconnect")
    func refusal() {
        var machine = SessionMachine()
        _ = machine.received(Self.hello())
        expectClose(machine.admitted(.failure(ApusError(.unauthenticated, "expired"))), .tokenRefused)
        var other = SessionMachine()
        _ = other.received(Self.hello())
        expectClose(other.admitted(.failure(ApusError(.storeUnavailable, "away"))), .unavailable)
    }

    @Test("an open session survives some malformed frames, unknown messages and a second hello, with errors")
    func errors() {
        var machine = Self.opened()
        for _ in 0..<16 { expectRefusal(machine.receivedMalformed("x"), .malformed) }
        expectClose(machine.receivedMalformed("x"), .tooManyErrors)
        var other = Self.opened()
        expectRefusal(other.received(.other(WireClientFrame())), .unknownMessage)
        expectRefusal(other.received(Self.hello()), .outOfState)
        guard case .submit(Self.send) = other.received(.send(Self.send)) else {
            Issue.record("send not taken")
            return
        }
    }

    @Test("nothing happens after the close, and it happens once")
    func closed() {
        var machine = Self.opened()
        expectClose(machine.close(.goingAway, "bye"), .goingAway)
        guard case .nothing = machine.close(.goingAway, "bye"), case .nothing = machine.received(.send(Self.send)) else {
            Issue.record("acted after the close")
            return
        }
    }

    func expectClose(_ action: SessionMachine.Action, _ code: CloseCode) {
        guard case .close(let found, _) = action else {
            Issue.record("\(action) is no close")
            return
        }
        #expect(found == code)
    }

    func expectRefusal(_ action: SessionMachine.Action, _ code: ErrorCode) {
        guard case .refuse(let error, _) = action else {
            Issue.record("\(action) is no refusal")
            return
        }
        #expect(error.code == code)
    }
}

@Suite("Reader cursors: each entry once and in order")
struct ReaderCursorsTests {
    let conversation = ConversationID(1)

    @Test("the first push sets the cursor, later ones follow or are skipped")
    func order() {
        var cursors = ReaderCursors()
        #expect(cursors.offer(conversation, 5) == .push)
        #expect(cursors.offer(conversation, 6) == .push)
        #expect(cursors.offer(conversation, 6) == .skip)
        #expect(cursors.offer(conversation, 3) == .skip)
        #expect(cursors.offer(ConversationID(2), 1) == .push)
    }

    @Test("a jump is filled first; what comes meanwhile waits and is filled too")
    func gap() {
        var cursors = ReaderCursors()
        _ = cursors.offer(conversation, 5)
        #expect(cursors.offer(conversation, 8) == .fill(6...8))
        #expect(cursors.offer(conversation, 9) == .skip)
        #expect(cursors.offer(conversation, 10) == .skip)
        #expect(cursors.filled(conversation, through: 7) == 8...10)
        #expect(cursors.filled(conversation, through: 10) == nil)
        #expect(cursors.offer(conversation, 11) == .push)
    }

    @Test("the head sweep fills what was never offered, and leaves readers alone that are there")
    func sweep() {
        var cursors = ReaderCursors()
        #expect(cursors.reach(conversation, 3) == nil)
        _ = cursors.offer(conversation, 3)
        #expect(cursors.reach(conversation, 3) == nil)
        #expect(cursors.reach(conversation, 5) == 4...5)
        #expect(cursors.reach(conversation, 6) == nil)
        #expect(cursors.filled(conversation, through: 5) == nil)
        #expect(cursors.offer(conversation, 6) == .push)
    }

    @Test("any interleaving of offers, fills and lost offers pushes 1...n once and in order", arguments: 0..<50)
    func random(seed: UInt64) {
        var generator = SplitMix(state: seed)
        var cursors = ReaderCursors()
        var pushed: [Seq] = []
        var fills: [ClosedRange<Seq>] = []
        _ = cursors.offer(conversation, 1)
        pushed.append(1)
        for seq in Seq(2)...60 {
            // Some offers are lost, some come twice; the last one always comes.
            let copies = seq == 60 ? 1 : Int.random(in: 0...2, using: &generator)
            for _ in 0..<copies {
                switch cursors.offer(conversation, seq) {
                case .push: pushed.append(seq)
                case .skip: break
                case .fill(let range): fills.append(range)
                }
            }
            if Bool.random(using: &generator) { drain(&fills, &cursors, &pushed, &generator) }
        }
        while !fills.isEmpty { drain(&fills, &cursors, &pushed, &generator) }
        #expect(pushed == Array(1...60))
    }

    private func drain(
        _ fills: inout [ClosedRange<Seq>], _ cursors: inout ReaderCursors, _ pushed: inout [Seq], _ generator: inout SplitMix
    ) {
        guard let range = fills.popLast() else { return }
        let through = Seq.random(in: range, using: &generator)
        pushed += Array(range.lowerBound...through)
        if let rest = cursors.filled(conversation, through: through) { fills.append(rest) }
    }
}

/// A seeded generator, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite("Timer wheel")
struct TimerWheelTests {
    @Test("elements come up at their tick, far ones early, none twice")
    func ticks() {
        var wheel = TimerWheel<Int>(delayMax: 5)
        wheel.insert(1, at: 1)
        wheel.insert(3, at: 3)
        wheel.insert(99, at: 99)
        wheel.insert(0, at: 0)
        #expect(wheel.advance() == [1, 0])
        #expect(wheel.advance() == [])
        #expect(wheel.advance() == [3])
        #expect(wheel.advance() == [])
        #expect(wheel.advance() == [99])
        #expect((0..<20).flatMap { _ in wheel.advance() } == [])
    }
}
