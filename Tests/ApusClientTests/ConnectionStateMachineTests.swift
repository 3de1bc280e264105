import ApusProtocol
import Testing

@testable import ApusClient

@Suite
struct ConnectionStateMachineTests {
    typealias Machine = ConnectionStateMachine<SeededGenerator>

    private static func machine() -> Machine {
        Machine(
            helloTimeout: .seconds(5),
            backoff: Backoff.Policy(initial: .seconds(1), max: .seconds(8), jitter: 0, stableAfter: .seconds(10)),
            random: SeededGenerator(seed: 1))
    }

    /// Welcomed at `now`, with a heartbeat of ten seconds.
    private static func open(at now: Duration = .zero) -> Machine {
        var machine = machine()
        machine.connect()
        _ = machine.opened(now)
        _ = machine.welcomed(heartbeat: .seconds(10), now)
        return machine
    }

    @Test("connect, hello, welcome, synced")
    func handshake() {
        var machine = Self.machine()
        #expect(machine.connectionState == .disconnected)
        machine.connect()
        #expect(machine.openRequest == Machine.OpenRequest())
        #expect(machine.connectionState == .connecting)
        #expect(machine.opened(.zero) == [.hello])
        #expect(machine.welcomed(heartbeat: .seconds(10), .zero) == [.start])
        #expect(machine.connectionState == .syncing)
        machine.synced()
        #expect(machine.connectionState == .online)
    }

    @Test("failures back off longer and longer, and an impatient user cuts the wait short")
    func backOff() {
        var machine = Self.machine()
        machine.connect()
        for wait in [1, 2, 4, 8, 8] {
            machine.openFailed(.zero)
            #expect(machine.connectionState == .waiting(.seconds(wait)))
            #expect(machine.tick(.seconds(wait) - .milliseconds(1)) == [])
            #expect(machine.isWaiting)
            _ = machine.tick(.seconds(wait))
            #expect(machine.openRequest != nil)
        }
        machine.openFailed(.zero)
        machine.connect()
        #expect(machine.openRequest != nil)
    }

    @Test("a connection that lasted makes the next failure wait briefly; one that breaks at once does not")
    func stability() {
        var machine = Self.machine()
        machine.connect()
        for _ in 0..<3 {
            machine.openFailed(.zero)
            machine.connect()
        }
        _ = machine.opened(.zero)
        _ = machine.welcomed(heartbeat: .seconds(10), .zero)
        #expect(machine.lost(nil, .seconds(9)) == [.disconnect])
        #expect(machine.connectionState == .waiting(.seconds(8)))
        machine.connect()
        _ = machine.opened(.seconds(20))
        _ = machine.welcomed(heartbeat: .seconds(10), .seconds(20))
        _ = machine.lost(nil, .seconds(30))
        #expect(machine.connectionState == .waiting(.seconds(1)))
    }

    @Test("pings after a heartbeat without a question, gives up after two and a half of silence")
    func heartbeats() {
        var machine = Self.open()
        #expect(machine.deadline == .seconds(10))
        #expect(machine.tick(.seconds(9)) == [])
        #expect(machine.tick(.seconds(10)) == [.ping])
        machine.asked(.seconds(10))
        machine.heard(.seconds(11))
        #expect(machine.tick(.seconds(19)) == [])
        #expect(machine.tick(.seconds(20)) == [.ping])
        machine.asked(.seconds(20))
        #expect(machine.tick(.seconds(36)) == [.disconnect])
        #expect(machine.isWaiting)
    }

    @Test("a heartbeat of nothing does not make the client spin")
    func zeroHeartbeat() {
        var machine = Self.machine()
        machine.connect()
        _ = machine.opened(.zero)
        _ = machine.welcomed(heartbeat: .zero, .zero)
        #expect(machine.tick(.zero) == [])
        #expect((machine.deadline ?? .zero) > .zero)
    }

    @Test("a welcome that does not come in time ends the attempt")
    func helloTimeout() {
        var machine = Self.machine()
        machine.connect()
        _ = machine.opened(.zero)
        #expect(machine.tick(.seconds(5)) == [.disconnect])
        #expect(machine.isWaiting)
    }

    @Test("a refused token is renewed once; refused again it ends the login")
    func tokenRefused() {
        var machine = Self.open()
        #expect(machine.lost(.tokenRefused, .seconds(1)) == [.disconnect])
        machine.connect()
        #expect(machine.openRequest?.refreshesToken == true)
        // The wish for a new token survives an attempt that fails for another reason.
        machine.openFailed(.seconds(2))
        machine.connect()
        #expect(machine.openRequest?.refreshesToken == true)
        _ = machine.opened(.seconds(3))
        #expect(machine.lost(.tokenRefused, .seconds(4)) == [.disconnect, .logout(.tokenRefused)])
        #expect(machine.connectionState == .disconnected)
    }

    @Test("a revoked device is logged out at once")
    func deviceRevoked() {
        var machine = Self.open()
        #expect(machine.lost(.deviceRevoked, .seconds(1)) == [.disconnect, .logout(.deviceRevoked)])
    }

    @Test(
        "the range of a close code decides",
        arguments: [(CloseCode.malformed, false), (.goingAway, true), (.slowConsumer, true), (.normal, true)])
    func closeCodes(code: CloseCode, comesBack: Bool) {
        var machine = Self.open()
        #expect(machine.lost(code, .seconds(1)) == [.disconnect])
        #expect(machine.isWaiting == comesBack)
        if !comesBack { #expect(machine.connectionState == .failed(code)) }
    }

    @Test("goaway: drains, leaves when drained or when time is up, comes back when and where it was told")
    func goaway() {
        var machine = Self.open()
        #expect(machine.goaway(reconnectAfter: .seconds(7), url: "ws://other", .seconds(1)) == [.drain])
        #expect(machine.isLeaving)
        #expect(machine.goaway(reconnectAfter: .seconds(9), url: nil, .seconds(1)) == [])
        var impatient = machine
        #expect(impatient.tick(.seconds(1) + Machine.drainTime) == [.disconnect])
        #expect(machine.drained(.seconds(2)) == [.disconnect])
        #expect(machine.connectionState == .waiting(.seconds(7)))
        _ = machine.tick(.seconds(9))
        #expect(machine.openRequest?.url == "ws://other")
        // A node that is not there is not asked twice.
        machine.openFailed(.seconds(9))
        machine.connect()
        #expect(machine.openRequest?.url == nil)
    }

    @Test("after close nothing happens any more")
    func close() {
        var machine = Self.open()
        #expect(machine.close() == [.disconnect])
        #expect(machine.lost(nil, .seconds(1)) == [])
        #expect(machine.tick(.seconds(100)) == [])
        #expect(machine.deadline == nil)
    }
}

@Suite
struct BackoffTests {
    @Test("delays stay between the jittered minimum and the cap, for ever")
    func bounds() {
        var random = SeededGenerator(seed: 7)
        let policy = Backoff.Policy(initial: .milliseconds(100), max: .seconds(2), multiplier: 3, jitter: 0.5)
        var backoff = Backoff(policy: policy)
        var full: Duration = .milliseconds(100)
        for _ in 0..<200 {
            let delay = backoff.next(using: &random)
            #expect(delay <= full)
            #expect(delay >= full / 2 - .nanoseconds(1))
            full = min(full * 3, .seconds(2))
        }
    }

    @Test("clients of a node that died do not come back at the same moment")
    func spread() {
        let policy = Backoff.Policy(initial: .seconds(1), max: .seconds(30), jitter: 0.5)
        let delays = (0..<100 as Range<UInt64>).map { seed in
            var random = SeededGenerator(seed: seed)
            var backoff = Backoff(policy: policy)
            return backoff.next(using: &random)
        }
        #expect(Set(delays).count > 90)
        #expect((delays.max() ?? .zero) - (delays.min() ?? .zero) > .milliseconds(300))
    }
}
