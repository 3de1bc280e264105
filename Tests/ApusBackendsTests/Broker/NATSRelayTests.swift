#if Cluster
import ApusChaos
import ApusCore
import ApusProtocol
import Foundation
import Logging
import NIOConcurrencyHelpers
import Testing

@testable import ApusBackends

private let first = NodeID(number: 1, epoch: 5)
private let second = NodeID(number: 2, epoch: 9)

/// Keeps what arrives.
private final class Received: RelayReceiver {
    private let seqs: AsyncStream<String>
    private let continuation: AsyncStream<String>.Continuation
    private let heard = NIOLockedValueBox<Set<String>>([])

    init() { (seqs, continuation) = AsyncStream.makeStream() }

    func receive(_ batch: [RelayMessage], from node: NodeID) {
        for case .entry(let entry, _, _) in batch {
            continuation.yield("\(node)/\(entry.seq)")
            heard.withLockedValue { _ = $0.insert("\(node)/\(entry.seq)") }
        }
    }

    func hasHeard(_ line: String) -> Bool { heard.withLockedValue { $0.contains(line) } }

    func next(_ count: Int) async -> [String] {
        var found: [String] = []
        for await seq in seqs {
            found.append(seq)
            if found.count == count { break }
        }
        return found
    }
}

private func relayed(_ seq: Seq, body: String = "x") -> RelayMessage {
    .entry(
        Entry(
            conversation: ConversationID(1), seq: seq, id: EntryID(seq), sender: AccountID(1), at: Timestamp(milliseconds: 1), kind: .text,
            body: body), to: .accounts([AccountID(2)]), isDuplicate: false)
}

@Suite("NATS relay", .timeLimit(.minutes(1)))
struct NATSRelayTests {
    /// There is no event for a connection of libnats, nor for what its broker knows of it. Ends with the time limit of the test.
    private func eventually(_ condition: () -> Bool) async throws {
        while !condition() {
            try Task.checkCancellation()
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    private func running(_ relays: [NATSRelay], _ body: () async throws -> Void) async throws {
        let tasks = relays.map { relay in Task { try await relay.run() } }
        do {
            try await eventually { relays.allSatisfy(\.isConnected) }
            try await body()
        } catch {
            for task in tasks { task.cancel() }
            throw error
        }
        for task in tasks { task.cancel() }
        for task in tasks { try await task.value }
    }

    private func relay(_ url: String, _ node: NodeID, _ receiver: Received?, _ change: (inout NATSRelay.Configuration) -> Void = { _ in })
        throws -> NATSRelay
    {
        var configuration = try NATSRelay.Configuration(url: url)
        change(&configuration)
        return NATSRelay(configuration: configuration, node: node, receiver: receiver, logger: quiet)
    }

    @Test("batches come to the node that is meant, in order, and those for all to all others")
    func subjects() async throws {
        try await NATSServer.with { _, url in
            let (left, right) = (Received(), Received())
            let relays = [try relay(url, first, left), try relay(url, second, right)]
            // A third node speaks to check that both subscribed.
            let speaker = try relay(url, NodeID(number: 3, epoch: 1), nil)
            try await running(relays + [speaker]) {
                try await self.greet(speaker, [left, right])
                for seq in 1...500 as ClosedRange<Seq> { relays[0].send([relayed(seq)], to: second) }
                #expect(await right.next(500) == (1...500).map { "1.5/\($0)" })
                // An old life, itself: nobody. All: the others, not itself.
                relays[0].send([relayed(1)], to: NodeID(number: 2, epoch: 8))
                relays[0].sendToAll([relayed(2)])
                #expect(await right.next(1) == ["1.5/2"])
                relays[1].send([relayed(3)], to: first)
                #expect(await left.next(1) == ["2.9/3"])
            }
        }
    }

    /// Sends to all until each has heard it, and leaves nothing unheard behind.
    private func greet(_ speaker: NATSRelay, _ receivers: [Received]) async throws {
        speaker.sendToAll([relayed(0)])
        for receiver in receivers { #expect(await receiver.next(1) == ["3.1/0"]) }
    }

    @Test("what waits for a broker that is away is bounded, and what is sent after its return arrives")
    func brokerAway() async throws {
        try await NATSServer.with { server, url in
            let right = Received()
            let left = try relay(url, first, nil) { $0.bufferBytesMax = 100_000 }
            let other = try relay(url, second, right)
            try await running([left, other]) {
                left.send([relayed(1)], to: second)
                #expect(await right.next(1) == ["1.5/1"])
                await server.kill()
                try await eventually { !left.isConnected && !other.isConnected }
                for seq in 2...2000 as ClosedRange<Seq> { left.send([relayed(seq, body: String(repeating: "x", count: 500))], to: second) }
                try await eventually { left.lossCount > 1000 }
                try await server.start()
                try await eventually { left.isConnected && other.isConnected }
                try await eventually {
                    left.send([relayed(5000)], to: second)
                    return right.hasHeard("1.5/5000")
                }
            }
        }
    }

    @Test("a broker that refuses this node is asked again until it does not")
    func refused() async throws {
        let port = try await MiddlewareProcess.freePort()
        let right = Received()
        let relays = [
            try relay("nats://apus:wrong@127.0.0.1:\(port)", first, nil), try relay("nats://apus:wrong@127.0.0.1:\(port)", second, right),
        ]
        let tasks = relays.map { relay in Task { try await relay.run() } }
        let guarded = MiddlewareProcess(NATSServer.plan(port: port, options: ["--user", "apus", "--pass", "right"]))
        let open = MiddlewareProcess(NATSServer.plan(port: port, options: ["--user", "apus", "--pass", "wrong"]))
        do {
            try await guarded.start()
            // libnats gives a connection up after a second refusal by the same server; the relay does not.
            try await eventually { guarded.log.text.components(separatedBy: "authentication error").count > 4 }
            #expect(relays.allSatisfy { !$0.isConnected })
            await guarded.kill()
            try await open.start()
            try await eventually { relays.allSatisfy(\.isConnected) }
            try await eventually {
                relays[0].send([relayed(1)], to: second)
                return right.hasHeard("1.5/1")
            }
        } catch {
            for process in [guarded, open] { await process.kill() }
            for task in tasks { task.cancel() }
            throw error
        }
        await open.kill()
        for task in tasks { task.cancel() }
        for task in tasks { try await task.value }
    }

    @Test("an address says its servers, its user and whether it is TLS; what is none of it is refused without its password")
    func addresses() throws {
        func servers(_ url: String) throws -> [String] { try NATSRelay.Configuration(url: url).servers }
        #expect(try servers("nats://n1:4222") == ["nats://n1:4222"])
        #expect(try servers("tls://u:p@n1:4222,n2:4223,[::1]:1") == ["tls://u:p@n1:4222", "tls://u:p@n2:4223", "tls://u:p@[::1]:1"])
        for text in ["", "n1:4222", "http://n1:4222", "nats://", "nats://u:secret@n1", "nats://u:secret@n1:0", "nats://u:secret@n1:1,"] {
            let error = #expect(throws: ApusError.self, "\(text)") { try servers(text) }
            #expect(error?.message.contains("secret") == false)
        }
    }

    @Test("a relay starts without its broker, and speaks once it is there")
    func startsAlone() async throws {
        let port = try await MiddlewareProcess.freePort()
        let right = Received()
        let relays = [try relay("nats://127.0.0.1:\(port)", first, nil), try relay("nats://127.0.0.1:\(port)", second, right)]
        let tasks = relays.map { relay in Task { try await relay.run() } }
        try await MiddlewareProcess.with(NATSServer.plan(port: port)) { _ in
            try await eventually { relays.allSatisfy(\.isConnected) }
            try await eventually {
                relays[0].send([relayed(1)], to: second)
                return right.hasHeard("1.5/1")
            }
        }
        for task in tasks { task.cancel() }
        for task in tasks { try await task.value }
    }
}
#endif
