import ApusCore
import ApusProtocol
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Testing

@testable import ApusServer

private let first = NodeID(number: 1, epoch: 5)
private let second = NodeID(number: 2, epoch: 9)
private let loopback = NetworkAddress(host: "127.0.0.1", port: 0)

/// One end: what a node has of the peer link.
private struct Peer {
    let receiver = FakeReceiver()
    let listener: PeerListener
    let relay: PeerRelay

    init(
        _ node: NodeID, _ registry: FakeRegistry, tokens: any PeerTokenSource = FakeTokens(),
        configuration: PeerConfiguration = PeerConfiguration(listen: loopback)
    ) {
        let group = MultiThreadedEventLoopGroup.singleton
        listener = PeerListener(
            configuration: configuration, node: node, verifier: FakeVerifier(), receiver: receiver, group: group, logger: quietLogger)
        relay = PeerRelay(
            configuration: configuration, node: node, registry: registry, tokens: tokens, group: group, logger: quietLogger)
    }

    var services: [any Service] { [listener, relay] }
}

@Suite("Peer links", .timeLimit(.minutes(1)))
struct PeerRelayTests {
    private func quick() -> PeerConfiguration {
        var configuration = PeerConfiguration(listen: loopback)
        configuration.retryMillisecondsMax = 50
        return configuration
    }

    /// Two linked nodes.
    private func linked(
        _ configuration: PeerConfiguration = PeerConfiguration(listen: loopback), tokens: any PeerTokenSource = FakeTokens(),
        _ body: @Sendable (Peer, Peer, FakeRegistry) async throws -> Void
    ) async throws {
        let registry = FakeRegistry()
        let left = Peer(first, registry, tokens: tokens, configuration: configuration)
        let right = Peer(second, registry, configuration: configuration)
        try await running(left.services + right.services) {
            registry.set([
                socketNode(first, try await left.listener.address.value), socketNode(second, try await right.listener.address.value),
            ])
            try await eventually { left.relay.openPeers == [second] && right.relay.openPeers == [first] }
            try await body(left, right, registry)
        }
    }

    @Test("batches arrive whole and in order, both ways, to one node and to all")
    func order() async throws {
        try await linked { left, right, _ in
            for seq in 1...2000 as ClosedRange<Seq> {
                if seq % 7 == 0 { left.relay.sendToAll([relayed(seq)]) } else { left.relay.send([relayed(seq)], to: second) }
            }
            right.relay.send((1...3).map { relayed($0) }, to: first)
            #expect(await right.receiver.next(2000) == (1...2000).map { "1.5/\($0)" })
            #expect(await left.receiver.next(3) == ["2.9/1", "2.9/2", "2.9/3"])
            #expect(left.relay.lossCount == 0)
        }
    }

    @Test("bodies as large as the window pass, in batches that fit into a frame")
    func large() async throws {
        var configuration = PeerConfiguration(listen: loopback)
        configuration.frameBytesMax = 100_000
        configuration.batchBytesMax = 50_000
        configuration.windowBytesMax = 100_000
        try await linked(configuration) { left, right, _ in
            left.relay.send((1...40).map { relayed($0, body: String(repeating: "x", count: Int($0) * 2000)) }, to: second)
            #expect(await right.receiver.next(40).last == "1.5/40")
            #expect(left.relay.lossCount == 0)
            left.relay.send([relayed(41, body: String(repeating: "x", count: 200_000)), relayed(42)], to: second)
            #expect(await right.receiver.next(1) == ["1.5/42"])
            #expect(left.relay.lossCount == 1)
        }
    }

    @Test("what is for nobody, or for another life of the node, goes nowhere")
    func strangers() async throws {
        try await linked { left, right, _ in
            left.relay.send([relayed(1)], to: NodeID(number: 2, epoch: 8))
            left.relay.send([relayed(2)], to: first)
            left.relay.send([relayed(3)], to: second)
            #expect(await right.receiver.next(1) == ["1.5/3"])
            #expect(left.receiver.count == 0)
        }
    }

    @Test("a refused token is not used again: the next one opens the link")
    func newToken() async throws {
        try await linked(quick(), tokens: FakeTokens(["stale", "internal"])) { left, right, _ in
            left.relay.send([relayed(1)], to: second)
            #expect(await right.receiver.next(1) == ["1.5/1"])
        }
    }

    @Test("a peer that died comes back as a new life, and only that one is sent to")
    func newEpoch() async throws {
        let registry = FakeRegistry()
        let left = Peer(first, registry, configuration: quick())
        try await running(left.services) {
            let old = Peer(second, registry, configuration: quick())
            try await running([old.listener]) {
                registry.set([socketNode(second, try await old.listener.address.value)])
                try await eventually { left.relay.openPeers == [second] }
                left.relay.send([relayed(1)], to: second)
                #expect(await old.receiver.next(1) == ["1.5/1"])
            }
            let third = NodeID(number: second.number, epoch: second.epoch + 1)
            let new = Peer(third, registry, configuration: quick())
            try await running([new.listener]) {
                registry.set([socketNode(third, try await new.listener.address.value)])
                try await eventually { left.relay.openPeers == [third] }
                left.relay.send([relayed(2)], to: second)
                left.relay.send([relayed(3)], to: third)
                #expect(await new.receiver.next(1) == ["1.5/3"])
            }
        }
    }

    @Test("a broken connection is made again, while the node lives")
    func reconnects() async throws {
        let registry = FakeRegistry()
        let left = Peer(first, registry, configuration: quick())
        try await running(left.services) {
            var address = loopback
            for round in 1...3 as ClosedRange<Seq> {
                var configuration = quick()
                configuration.listen = address
                let right = Peer(second, registry, configuration: configuration)
                try await running([right.listener]) {
                    registry.set([socketNode(second, try await right.listener.address.value)])
                    try await eventually { left.relay.openPeers == [second] }
                    left.relay.send([relayed(round)], to: second)
                    #expect(await right.receiver.next(1) == ["1.5/\(round)"])
                }
                address = try await right.listener.address.value
                try await eventually { left.relay.openPeers.isEmpty }
            }
        }
    }

    @Test("a node that leaves the registry is sent to while its connection lasts: it drains")
    func draining() async throws {
        try await linked { left, right, registry in
            registry.set([])
            left.relay.send([relayed(1)], to: second)
            #expect(await right.receiver.next(1) == ["1.5/1"])
        }
    }

    @Test("what was sent just before the shutdown arrives")
    func shutdown() async throws {
        let registry = FakeRegistry()
        let right = Peer(second, registry)
        try await running([right.listener]) {
            registry.set([socketNode(second, try await right.listener.address.value)])
            let left = Peer(first, registry)
            try await running([left.relay]) {
                try await eventually { left.relay.openPeers == [second] }
                left.relay.send((1...5000).map { relayed($0) }, to: second)
            }
            #expect(left.relay.lossCount == 0)
            #expect(await right.receiver.next(5000).count == 5000)
        }
    }

    @Test("a peer that takes nothing costs a bounded backlog; when it owes an answer for too long it is given up and connected to anew")
    func paused() async throws {
        let listener = try await SilentPeer.listen(as: second)
        let registry = FakeRegistry()
        var configuration = quick()
        configuration.windowBytesMax = 100_000
        configuration.queueBytesMax = 300_000
        configuration.acknowledgeSeconds = 1
        let left = Peer(first, registry, configuration: configuration)
        try await running([left.relay]) {
            registry.set([socketNode(second, listener.address)])
            try await eventually { left.relay.openPeers == [second] }
            for seq in 1...10_000 as ClosedRange<Seq> {
                left.relay.send([relayed(seq)], to: second)
                #expect((left.relay.link(to: second)?.waitingBytes ?? 0) <= 300_000)
            }
            #expect(left.relay.lossCount > 5000)
            try await eventually { listener.connections >= 2 }
        }
        try await listener.close()
    }
}
