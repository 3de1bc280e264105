import ApusProtocol
import Foundation
import Testing

@testable import ApusClient

/// A cluster of two socket nodes: the one that a client is connected to goes, in every way a node can go.
@Suite(.timeLimit(.minutes(2)))
struct NodeChangeTests {
    enum Going: CaseIterable, Sendable {
        /// Dead at once; the server still sends clients there twice, then has no node to offer, then names the other one.
        case dies
        /// Says goodbye and where to go.
        case namesTheOther
        /// Says goodbye; the server knows where to go.
        case namesNone
        /// Names a node that is dead when the client gets there.
        case namesADeadNode
    }

    private static let count = 60

    @Test(
        "when its node goes the client continues on the other one: nothing lost, nothing twice, nothing out of order, no error",
        arguments: Going.allCases, [ClientConfiguration.Transport.webSocket, .tcp])
    func goes(_ going: Going, _ transport: ClientConfiguration.Transport) async throws {
        try await FakeServer.run { server in
            let (first, second) = (try await server.addNode(), try await server.addNode())
            try await server.with { $0.node = first.address }
            try await server.withClient(server.configuration(.memory, transport)) { client async throws in
                let events = client.events()
                await client.connect()
                async let seen = Self.collect(events)
                var pending: [PendingSend] = []
                for number in 1...Self.count {
                    pending.append(try await client.enqueue("mine \(number)", to: testConversation))
                    try await server.with { $0.append("theirs \(number)", to: testConversation, by: testPeer) }
                    if number == Self.count / 2 { try await Self.go(going, server, first, second, transport) }
                }
                for send in pending { _ = try await send.acknowledgement() }

                let entries = try await seen
                let log = try await server.with { $0.logs[testConversation]?.entries ?? [] }
                #expect(entries == log)
                let mine = entries.map(\.body).filter { $0.hasPrefix("mine") }
                #expect(mine == (1...Self.count).map { "mine \($0)" })
                #expect(try await server.with { world in world.sessions.map(\.node) } == [second.number])
                // Whatever went out twice went out under the same name, or the log would have it twice.
                let names = try await server.with { world in Set(world.sends.map(\.clientID)).count }
                #expect(names == Self.count)
            }
        }
    }

    private static func go(
        _ going: Going, _ server: FakeServer, _ first: FakeServer.Node, _ second: FakeServer.Node,
        _ transport: ClientConfiguration.Transport
    ) async throws {
        func url(_ node: FakeServer.Node) -> String { transport == .tcp ? node.address.tcp ?? "" : node.address.url }
        switch going {
        case .dies:
            // The next message that comes, before the end or on the other node, is stored, and its acknowledgement lost.
            try await server.with { world in
                world.faults.lostAcks = 1
                world.staleNodes = [first.address, first.address]
                world.faults.unavailable = 2
                world.node = second.address
            }
            try await server.kill(first)
        case .namesTheOther, .namesNone, .namesADeadNode:
            var goaway = WireGoaway()
            goaway.reason = "restart"
            goaway.reconnectAfterMs = 20
            if going == .namesTheOther { goaway.url = url(second) }
            if going == .namesADeadNode {
                let dead = try await server.addNode()
                goaway.url = url(dead)
                try await server.kill(dead)
            }
            try await server.with { [goaway] world in
                world.node = second.address
                for session in world.sessions { session.send(WireServerFrame(.goaway(goaway))) }
            }
        }
    }

    /// Both sides' entries, in the order of their events. Anything that a person would be shown as an error is one.
    private static func collect(_ events: ClientEvents) async throws -> [Entry] {
        var entries: [Entry] = []
        while entries.count < 2 * count {
            let entry: Entry? = try await events.first("entry \(entries.count + 1)") { event -> Entry?? in
                switch event {
                case .entry(let entry): .some(entry)
                case .sendFailed, .loggedOut, .missedEvents, .reset, .connection(.failed): .some(nil)
                default: nil
                }
            }
            entries.append(try #require(entry, "an error event"))
        }
        return entries
    }

    @Test("every attempt after a failure asks the server anew, and none goes to the address that failed by itself")
    func asksAnew() async throws {
        try await FakeServer.run { server in
            let (first, second) = (try await server.addNode(), try await server.addNode())
            try await server.with { $0.node = first.address }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in
                    world.allocations = 0
                    world.avoidedNodes = []
                    world.staleNodes = Array(repeating: first.address, count: 3)
                    world.node = second.address
                }
                try await server.kill(first)
                try await events.untilOnline()
                #expect(try await server.with { $0.allocations } == 4)
                // The server may not know yet that the node is dead; the client does.
                #expect(try await server.with { $0.avoidedNodes } == Array(repeating: first.address.url, count: 4))
                #expect(try await server.with { world in world.sessions.map(\.node) } == [second.number])
            }
        }
    }
}
