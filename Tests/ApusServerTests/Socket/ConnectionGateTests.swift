import Testing

@testable import ApusServer

@Suite("Socket: the gate")
struct ConnectionGateTests {
    @Test("A new bound counts for those who come; nobody who is in is sent away")
    func bounds() {
        let gate = ConnectionGate(.init(connectionsMax: 2, handshakesPerAddressMax: 9))
        let few = [gate.admit(nil), gate.admit(nil), gate.admit(nil)]
        #expect(few == [true, true, false])
        gate.set(.init(connectionsMax: 3, handshakesPerAddressMax: 9))
        let more = [gate.admit(nil), gate.admit(nil)]
        #expect(more == [true, false])
        gate.set(.init(connectionsMax: 1, handshakesPerAddressMax: 9))
        #expect(gate.connectionCount == 3)
        gate.connectionEnded()
        let none = gate.admit(nil)
        #expect(!none)
    }
}
