import ApusCore
import ApusProtocol
import Testing

@testable import ApusServer

private let here = NodeID(number: 1, epoch: 5)
private let there = NodeID(number: 2, epoch: 9)

private func hello(from: NodeID = there, to: NodeID = here) -> WirePeerFrame {
    var hello = WirePeerHello()
    hello.accessToken = "token"
    hello.from = WirePeerNode(from)
    hello.to = WirePeerNode(to)
    return WirePeerFrame(.hello(hello))
}

private func welcome(_ node: NodeID) -> WirePeerFrame {
    var welcome = WirePeerWelcome()
    welcome.node = WirePeerNode(node)
    return WirePeerFrame(.welcome(welcome))
}

private func batch(_ number: UInt64) -> WirePeerFrame {
    var batch = WireRelayBatch([relayed(number)])
    batch.number = number
    return WirePeerFrame(.batch(batch))
}

private func ack(_ number: UInt64) -> WirePeerFrame {
    var ack = WirePeerAck()
    ack.number = number
    return WirePeerFrame(.ack(ack))
}

@Suite("Peer link, listening end")
struct PeerListenerMachineTests {
    private func code(_ action: PeerListenerMachine.Action) -> CloseCode? {
        if case .close(let code, _) = action { code } else { nil }
    }

    private func open() -> PeerListenerMachine {
        var machine = PeerListenerMachine(node: here)
        _ = machine.received(hello())
        _ = machine.verified(.success(FakeVerifier.grant(.client("node"), ["internal"])))
        return machine
    }

    @Test("nothing but hello comes first, and nothing between hello and welcome")
    func order() {
        for frame in [batch(1), ack(1), welcome(there), WirePeerFrame()] {
            var machine = PeerListenerMachine(node: here)
            #expect(code(machine.received(frame)) == .outOfState)
            if case .nothing = machine.received(hello()) {} else { Issue.record("a closed link takes no hello") }
        }
        var machine = PeerListenerMachine(node: here)
        guard case .verify("token") = machine.received(hello()) else { return #expect(Bool(false), "hello is verified") }
        #expect(code(machine.received(batch(1))) == .outOfState)
        guard case .nothing = machine.verified(.success(FakeVerifier.grant(.client("node"), ["internal"]))) else {
            return #expect(Bool(false), "a closed link opens no more")
        }
    }

    @Test("a hello for another life, or from no other node, is refused")
    func lives() {
        for (frame, expected) in [
            (hello(to: NodeID(number: 1, epoch: 4)), CloseCode.outOfState), (hello(to: there), .outOfState),
            (hello(from: here), .malformed), (hello(from: NodeID(number: 5000, epoch: 1)), .malformed),
        ] {
            var machine = PeerListenerMachine(node: here)
            #expect(code(machine.received(frame)) == expected)
        }
    }

    @Test("only a service's token of scope internal opens the link; keys that cannot be had are no refusal")
    func tokens() {
        let results: [(Result<AccessGrant, ApusError>, CloseCode?)] = [
            (.success(FakeVerifier.grant(.client("node"), ["internal"])), nil),
            (.success(FakeVerifier.grant(.client("node"), ["user"])), .tokenRefused),
            (.success(FakeVerifier.grant(.device(AccountID(1), DeviceID(1)), ["internal"])), .tokenRefused),
            (.failure(ApusError(.unauthenticated, "no")), .tokenRefused),
            (.failure(ApusError(.storeUnavailable, "no keys")), .unavailable),
        ]
        for (result, expected) in results {
            var machine = PeerListenerMachine(node: here)
            _ = machine.received(hello())
            #expect(code(machine.verified(result)) == expected)
            #expect(machine.peer == (expected == nil ? there : nil))
        }
    }

    @Test("batches are numbered from 1 without a gap")
    func numbers() {
        var machine = open()
        for number in 1...3 as ClosedRange<UInt64> {
            guard case .pass(let messages, there) = machine.received(batch(number)), messages.count == 1 else {
                return #expect(Bool(false), "batch \(number) is passed on")
            }
        }
        #expect(machine.lastNumber == 3)
        #expect(code(machine.received(batch(5))) == .outOfState)
        var again = open()
        _ = again.received(batch(1))
        #expect(code(again.received(batch(1))) == .outOfState)
    }

    @Test("a frame of a later version is ignored once the link is open")
    func later() {
        var machine = open()
        if case .nothing = machine.received(WirePeerFrame()) {} else { Issue.record("it was not ignored") }
        #expect(machine.peer == there)
    }
}

@Suite("Peer link, connecting end")
struct PeerDialerMachineTests {
    @Test("opens with the welcome of the node that is meant, and with no other")
    func welcomes() {
        var machine = PeerDialerMachine(peer: there)
        #expect(machine.received(welcome(there)) == .open)
        #expect(machine.isOpen)
        #expect(machine.received(ack(3)) == .acknowledged(through: 3))
        var other = PeerDialerMachine(peer: there)
        guard case .close(.outOfState, _) = other.received(welcome(NodeID(number: 2, epoch: 10))) else {
            return #expect(Bool(false), "another life is not the one that is meant")
        }
        #expect(!other.isOpen)
    }

    @Test("what is not due closes; what comes after the close is ignored")
    func notDue() {
        for frame in [ack(1), batch(1), WirePeerFrame()] {
            var machine = PeerDialerMachine(peer: there)
            guard case .close(.outOfState, _) = machine.received(frame) else { return #expect(Bool(false), "it was not due") }
            #expect(machine.received(welcome(there)) == .nothing)
        }
    }

    @Test("the listener's close frame is understood: the carrier writes it as the socket protocol has it")
    func close() throws {
        var close = WireClose()
        close.code = UInt32(CloseCode.tokenRefused.rawValue)
        let bytes: [UInt8] = try WireServerFrame(.close(close)).serializedBytes()
        var machine = PeerDialerMachine(peer: there)
        #expect(machine.received(try WirePeerFrame(decoding: .init(bytes: bytes))) == .closed(.tokenRefused))
    }
}

@Suite("Peer outbox")
struct PeerOutboxTests {
    private func make(queue: Int = 100_000, window: Int = 100_000, batch: Int = 1000, message: Int = 50_000) -> PeerOutbox {
        PeerOutbox(limits: .init(queueBytesMax: queue, windowBytesMax: window, batchBytesMax: batch, messageBytesMax: message))
    }

    private func seqs(_ messages: [RelayMessage]?) -> [Seq] {
        (messages ?? []).compactMap { if case .entry(let entry, _, _) = $0 { entry.seq } else { nil } }
    }

    private let size = relayed(1).wireBytesMax

    @Test("batches have their bound, their numbers and their order; a large message goes alone")
    func batches() {
        var outbox = make(batch: 2 * size)
        #expect(outbox.add((1...5).map { relayed($0) } + [relayed(6, body: String(repeating: "x", count: 5000)), relayed(7)]) == 0)
        var found: [[Seq]] = []
        var numbers: [UInt64] = []
        while let batch = outbox.nextBatch() {
            found.append(seqs(batch.messages))
            numbers.append(batch.number)
        }
        #expect(found == [[1, 2], [3, 4], [5], [6], [7]])
        #expect(numbers == [1, 2, 3, 4, 5])
        #expect(outbox.waitingBytes == 0)
    }

    @Test("what does not fit into the queue, or would never fit into a frame, is dropped and counted")
    func bounds() {
        var outbox = make(queue: 3 * size, message: 1000)
        #expect(outbox.add((1...5).map { relayed($0) }) == 2)
        #expect(outbox.waitingBytes == 3 * size)
        #expect(outbox.add([relayed(6, body: String(repeating: "x", count: 1000))]) == 1)
        #expect(seqs(outbox.nextBatch()?.messages) == [1, 2, 3])
    }

    @Test("no more is on its way than the window; an acknowledgement stands for all before it")
    func window() {
        var outbox = make(window: 2 * size, batch: size)
        _ = outbox.add((1...5).map { relayed($0) })
        #expect(outbox.nextBatch()?.number == 1)
        #expect(outbox.nextBatch()?.number == 2)
        #expect(outbox.nextBatch() == nil)
        #expect(outbox.acknowledge(through: 2))
        #expect(outbox.nextBatch()?.number == 3)
        #expect(!outbox.acknowledge(through: 4))
        #expect(outbox.acknowledge(through: 3))
        #expect(!outbox.hasInFlight && !outbox.isIdle)
    }

    @Test("with its connection goes what was not acknowledged; what waits stays, and numbers begin anew")
    func connectionEnds() {
        var outbox = make(window: 2 * size, batch: size)
        _ = outbox.add((1...4).map { relayed($0) })
        _ = outbox.nextBatch()
        _ = outbox.nextBatch()
        _ = outbox.acknowledge(through: 1)
        #expect(outbox.connectionEnded() == 1)
        let next = outbox.nextBatch()
        #expect(next?.number == 1)
        #expect(seqs(next?.messages) == [3])
        #expect(outbox.clear() == 1)
        #expect(outbox.waitingBytes == 0)
    }

    @Test("a heartbeat is acknowledged like everything else")
    func heartbeat() {
        var outbox = make()
        #expect(outbox.isIdle)
        #expect(outbox.heartbeat() == 1)
        #expect(outbox.hasInFlight)
        #expect(outbox.acknowledge(through: 1))
        #expect(outbox.isIdle)
    }
}

@Suite("Peer back-off")
struct PeerBackoffTests {
    @Test("waits longer after each failure, up to its bound, by chance between half and all of it")
    func grows() {
        var backoff = PeerBackoff(millisecondsMax: 1000)
        #expect((0..<6).map { _ in backoff.next(random: 1) } == [100, 200, 400, 800, 1000, 1000].map { .milliseconds($0) })
        #expect(backoff.next(random: 0) == .milliseconds(500))
        backoff.succeeded()
        #expect(backoff.next(random: 0) == .milliseconds(50))
        for _ in 0..<100 { #expect(backoff.next(random: 1) <= .seconds(1)) }
    }
}
