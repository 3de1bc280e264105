import ApusCore
import ApusProtocol
import NIOCore
import NIOPosix
import Testing

@testable import ApusServer

private let here = NodeID(number: 1, epoch: 5)
private let there = NodeID(number: 2, epoch: 9)

@Suite("Peer listener", .timeLimit(.minutes(1)))
struct PeerListenerTests {
    private let receiver = FakeReceiver()

    private func listening(
        _ change: (inout PeerConfiguration) -> Void = { _ in }, _ body: @Sendable (NetworkAddress) async throws -> Void
    ) async throws {
        var configuration = PeerConfiguration(listen: NetworkAddress(host: "127.0.0.1", port: 0))
        change(&configuration)
        // One loop takes connections in the order in which they were made.
        let listener = PeerListener(
            configuration: configuration, node: here, verifier: FakeVerifier(), receiver: receiver,
            group: MultiThreadedEventLoopGroup.singleton.next(), logger: quietLogger)
        try await running([listener]) { try await body(try await listener.address.value) }
    }

    private func bytes(_ body: WirePeerFrame.OneOf_Body) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        try WirePeerFrame(body).encode(into: &buffer)
        return buffer
    }

    private func hello(_ token: String, from node: NodeID = there) throws -> ByteBuffer {
        var hello = WirePeerHello()
        hello.accessToken = token
        hello.from = WirePeerNode(node)
        hello.to = WirePeerNode(here)
        return try bytes(.hello(hello))
    }

    private func batch(_ number: UInt64, _ messages: [RelayMessage]) throws -> ByteBuffer {
        var batch = WireRelayBatch(messages)
        batch.number = number
        return try bytes(.batch(batch))
    }

    private func frame(_ socket: RawSocket) async throws -> WirePeerFrame.OneOf_Body? {
        guard case .message(let message) = await socket.next() else { return nil }
        return try WirePeerFrame(decoding: message).body
    }

    /// The code of the close frame that comes next; nil: the connection ended without one, or something else came.
    private func closeCode(_ socket: RawSocket) async throws -> CloseCode? {
        guard case .close(let close) = try await frame(socket) else { return nil }
        return CloseCode(rawValue: UInt16(close.code))
    }

    private func welcomed(_ address: NetworkAddress, from node: NodeID = there) async throws -> RawSocket {
        let socket = try await RawSocket(address)
        await socket.send(try hello("internal", from: node))
        guard case .welcome(let welcome) = try await frame(socket) else { throw ApusError(.internal, "not welcomed") }
        #expect(NodeID(welcome.node) == here)
        return socket
    }

    @Test("batches are passed on in order and acknowledged, many at once")
    func acknowledged() async throws {
        try await listening { address in
            let socket = try await welcomed(address)
            for number in 1...50 as ClosedRange<UInt64> { await socket.send(try batch(number, [relayed(number)])) }
            var last: UInt64 = 0
            while last < 50 {
                guard case .ack(let ack) = try await frame(socket) else { return #expect(Bool(false), "an ack is due") }
                #expect(ack.number > last)
                last = ack.number
            }
            #expect(await receiver.next(50) == (1...50).map { "2.9/\($0)" })
            await socket.close()
        }
    }

    @Test(
        "without a service's token of scope internal nothing is taken",
        arguments: [
            ("wrong", CloseCode.tokenRefused), ("", .tokenRefused), ("service", .tokenRefused), ("person", .tokenRefused),
            ("busy", .unavailable),
        ])
    func tokens(token: String, code: CloseCode) async throws {
        try await listening { address in
            let socket = try await RawSocket(address)
            await socket.send(try hello(token))
            #expect(try await closeCode(socket) == code)
            await socket.send(try batch(1, [relayed(1)]))
            await socket.close()
            let proper = try await welcomed(address)
            await proper.send(try batch(1, [relayed(2)]))
            #expect(await receiver.next(1) == ["2.9/2"])
            await proper.close()
        }
    }

    @Test("a frame that is too large closes: small before hello is accepted, larger afterwards")
    func oversized() async throws {
        try await listening {
            $0.frameBytesMax = 20_000
        } _: { address in
            let stranger = try await RawSocket(address)
            await stranger.send(ByteBuffer(repeating: 1, count: 8193))
            #expect(try await closeCode(stranger) == .frameTooLarge)
            let socket = try await welcomed(address)
            await socket.send(try batch(1, [relayed(1, body: String(repeating: "x", count: 15_000))]))
            #expect(await receiver.next(1) == ["2.9/1"])
            guard case .ack = try await frame(socket) else { return #expect(Bool(false), "an ack is due") }
            await socket.send(ByteBuffer(repeating: 1, count: 20_001))
            #expect(try await closeCode(socket) == .frameTooLarge)
        }
    }

    @Test("bytes that are no frame close")
    func malformed() async throws {
        try await listening { address in
            let socket = try await RawSocket(address)
            await socket.send(ByteBuffer(repeating: 0xFF, count: 100))
            #expect(try await closeCode(socket) == .malformed)
        }
    }

    @Test("who says no hello in time is closed")
    func handshakeTime() async throws {
        try await listening {
            $0.handshakeSeconds = 1
        } _: { address in
            let socket = try await RawSocket(address)
            #expect(try await closeCode(socket) == .handshakeTimeout)
        }
    }

    @Test("a peer that is silent for three heartbeats is closed")
    func silence() async throws {
        try await listening {
            $0.heartbeatSeconds = 1
        } _: { address in
            let socket = try await welcomed(address)
            await socket.send(try batch(1, []))
            guard case .ack = try await frame(socket) else { return #expect(Bool(false), "a heartbeat is acknowledged") }
            #expect(try await closeCode(socket) == .heartbeatTimeout)
            #expect(receiver.count == 0)
        }
    }

    @Test("those who have not said hello are few")
    func handshakes() async throws {
        try await listening {
            $0.handshakesMax = 2
        } _: { address in
            let waiting = [try await RawSocket(address), try await RawSocket(address)]
            let third = try await RawSocket(address)
            await third.send(try hello("internal", from: NodeID(number: 9, epoch: 1)))
            guard case .ended = await third.next() else { return #expect(Bool(false), "a third one is turned away") }
            await waiting[0].send(try hello("internal"))
            guard case .welcome = try await frame(waiting[0]) else { return #expect(Bool(false), "the first is welcomed") }
            for socket in waiting { await socket.close() }
        }
    }

    @Test("a node that connects again takes the place of its earlier connection")
    func again() async throws {
        try await listening { address in
            let earlier = try await welcomed(address)
            let other = try await welcomed(address, from: NodeID(number: 3, epoch: 1))
            let later = try await welcomed(address)
            #expect(try await closeCode(earlier) == .goingAway)
            await later.send(try batch(1, [relayed(1)]))
            await other.send(try batch(1, [relayed(1)]))
            #expect(Set(await receiver.next(2)) == ["2.9/1", "3.1/1"])
            await later.close()
            await other.close()
        }
    }
}
