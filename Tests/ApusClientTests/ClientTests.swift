import ApusProtocol
import Foundation
import Testing

@testable import ApusClient

@Suite(.timeLimit(.minutes(2)))
struct ClientTests {
    @Test(
        "over every carrier a client logs in, sends, reads what it missed and what comes live",
        arguments: ClientConfiguration.Transport.allCases)
    func everyCarrier(_ transport: ClientConfiguration.Transport) async throws {
        try await FakeServer.run { server in
            try await server.with { world in for number in 1...25 { world.append("old \(number)", to: testConversation, by: testPeer) } }
            try await server.withClient(server.configuration(.memory, transport)) { client async throws in
                let events = client.events()
                await client.connect()
                let missed = try await events.entries(25)
                #expect(missed.map(\.seq) == Array(1...25))
                #expect(missed.last?.body == "old 25")
                let ack = try await client.send("hello 你好", to: testConversation)
                #expect(ack.seq == 26)
                try await server.with { _ = $0.append("answer", to: testConversation, by: testPeer) }
                let live = try await events.entries(2)
                #expect(live.map(\.body) == ["hello 你好", "answer"])
                let account = try await client.currentLogin()?.account
                #expect(live.first?.sender == account)
                #expect(try await client.localHistory(of: testConversation, from: 25) == Array(missed.suffix(1)) + live)
            }
        }
    }

    @Test("a send whose acknowledgement is lost is acknowledged after the reconnect and appended once")
    func lostAcknowledgement() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { $0.faults.lostAcks = 1 }
                let ack = try await client.send("once", to: testConversation)
                #expect(ack.seq == 1)
                #expect(try await events.entries(1).map(\.body) == ["once"])
                try await server.with { world in
                    #expect(world.logs[testConversation]?.entries.count == 1)
                    #expect(world.sends.count == 2)
                    #expect(Set(world.sends.map(\.clientID)).count == 1)
                }
            }
        }
    }

    @Test("connections that break in the middle of a pipeline lose, double and reorder nothing")
    func brokenPipeline() async throws {
        let count = 200
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                var pending: [PendingSend] = []
                for number in 0..<count {
                    if number % 40 == 10 { try await server.with { $0.faults.lostAcks += 1 } }
                    if number % 40 == 30 { try await server.with { $0.faults.lostSends += 1 } }
                    pending.append(try await client.enqueue("\(number)", to: testConversation))
                }
                var seqs: [Seq] = []
                for send in pending { seqs.append(try await send.acknowledgement().seq) }
                #expect(seqs == (1...Seq(count)).map { $0 })
                #expect(try await events.entries(count).map(\.body) == (0..<count).map(String.init))
                let log = try await server.with { $0.logs[testConversation]?.entries.map(\.body) }
                #expect(log == (0..<count).map(String.init))
                #expect(try await server.with { $0.hellos } > 1)
                #expect(try await client.pendingSends().isEmpty)
            }
        }
    }

    @Test("a message that is refused for the time being goes out again, and what follows it stays behind it")
    func temporaryRefusal() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.faults.temporaryRefusals = 3 }
            try await server.withClient { client async throws in
                await client.connect()
                var pending: [PendingSend] = []
                for number in 0..<20 { pending.append(try await client.enqueue("\(number)", to: testConversation)) }
                for send in pending { _ = try await send.acknowledgement() }
                #expect(try await server.with { $0.logs[testConversation]?.entries.map(\.body) } == (0..<20).map(String.init))
            }
        }
    }

    @Test("a message that is refused for good fails alone: what follows it is sent, and it does not come back")
    func finalRefusal() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.bodyBytesMax = 100 }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                let forbidden = try await client.enqueue("forbidden", to: testConversation, clientID: "no")
                let long = try await client.enqueue(String(repeating: "x", count: 101), to: testConversation, clientID: "long")
                let allowed = try await client.enqueue("allowed", to: testConversation)
                #expect(try await allowed.acknowledgement().seq == 1)
                let refusal = await #expect(throws: ApusError.self) { try await forbidden.acknowledgement() }
                #expect(refusal?.code == .notMember)
                let tooLong = await #expect(throws: ApusError.self) { try await long.acknowledgement() }
                #expect(tooLong?.code == .tooLarge)
                let failed = try await events.first("failure") { if case .sendFailed(_, let id, _) = $0 { id } else { nil } } as String
                #expect(["no", "long"].contains(failed))
                #expect(try await client.pendingSends().isEmpty)
                // The server would have closed the connection for a frame beyond its limit.
                #expect(try await server.with { $0.sends.map(\.clientID) }.contains("long") == false)
            }
        }
    }

    @Test("pushes that are lost leave a gap, which is pulled before what came after it is told")
    func gap() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in
                    world.append("1", to: testConversation, by: testPeer)
                    world.faults.lostPushes = 15
                    for number in 2...17 { world.append("\(number)", to: testConversation, by: testPeer) }
                }
                #expect(try await events.entries(17).map(\.body) == (1...17).map(String.init))
            }
        }
    }

    @Test("entries that this account may not see are no gap: the cursor moves over them")
    func hiddenEntries() async throws {
        try await FakeServer.run { server in
            try await server.with { world in
                for number in 1...30 { world.append("\(number)", to: testConversation, by: testPeer) }
                world.logs[testConversation]?.hidden = Set(1...12).union(15...16)
            }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                let entries = try await events.entries(16)
                #expect(entries.map(\.seq) == [13, 14] + Array(17...30))
                #expect(try await client.localConversation(testConversation)?.cursor == 30)
            }
        }
    }

    @Test("where the server no longer has what was missed, the client says so and starts over at what is left")
    func reset() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { $0.append("1", to: testConversation, by: testPeer) }
                _ = try await events.entries(1)
                try await server.with { world in
                    world.faults.lostPushes = 20
                    for number in 2...20 { world.append("\(number)", to: testConversation, by: testPeer) }
                    world.logs[testConversation]?.first = 10
                    for session in world.sessions { session.abort() }
                }
                let first =
                    try await events.first("reset") { if case .reset(testConversation, let first) = $0 { first } else { nil } } as Seq
                #expect(first == 10)
                #expect(try await events.entries(11).map(\.seq) == Array(10...20))
                #expect(try await client.localHistory(of: testConversation).map(\.seq) == Array(10...20))
            }
        }
    }

    @Test("after a reconnect only what was missed is told, once and in order")
    func resync() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                var expected: [String] = []
                for round in 0..<5 {
                    try await server.with { world in
                        world.append("\(round) live", to: testConversation, by: testPeer)
                        world.faults.lostPushes = 3
                        for number in 0..<3 { world.append("\(round) missed \(number)", to: testConversation, by: testPeer) }
                        for session in world.sessions { session.abort() }
                    }
                    expected += ["\(round) live"] + (0..<3).map { "\(round) missed \($0)" }
                    #expect(try await events.entries(4).map(\.body) == Array(expected.suffix(4)))
                }
                #expect(try await client.localHistory(of: testConversation).map(\.body) == expected)
            }
        }
    }

    @Test("a long backlog of one conversation does not hold up what arrives live in another")
    func backlogAndLive() async throws {
        let other = ConversationID(99)
        try await FakeServer.run { server in
            try await server.with { world in
                world.pageSize = 1
                for number in 1...3_000 { world.append("\(number)", to: testConversation, by: testPeer) }
            }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                _ = try await events.entries(10)
                try await server.with { $0.append("live", to: other, by: testPeer) }
                let before = try await events.first("live entry") { event -> Seq? in
                    guard case .entry(let entry) = event, entry.conversation == other else { return nil }
                    return entry.seq
                }
                #expect(before == 1)
                #expect(try await client.localConversation(testConversation)?.cursor ?? 0 < 3_000)
            }
        }
    }

    @Test("with a limited backfill a conversation that is new to the client begins a few entries before its head")
    func backfill() async throws {
        try await FakeServer.run { server in
            try await server.with { world in for number in 1...50 { world.append("\(number)", to: testConversation, by: testPeer) } }
            var configuration = server.configuration()
            configuration.backfill = .last(5)
            try await server.withClient(configuration) { client async throws in
                let events = client.events()
                await client.connect()
                #expect(try await events.entries(5).map(\.seq) == Array(46...50))
                #expect(try await client.localConversation(testConversation)?.cursor == 50)
            }
        }
    }

    @Test("a scheduled message is acknowledged without a place in the log and makes no entry")
    func scheduled() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                let ack = try await client.send("later", to: testConversation, deliverAt: Date(timeIntervalSinceNow: 3_600))
                #expect(ack.seq == 0)
                #expect(ack.deliverAt != nil)
                _ = try await client.send("now", to: testConversation)
                #expect(try await events.entries(1).map(\.body) == ["now"])
            }
        }
    }

    @Test("marks of delivery are collected, read marks go out at once, and what the others read is kept")
    func marks() async throws {
        try await FakeServer.run { server in
            var configuration = server.configuration()
            configuration.deliveredMarkInterval = .milliseconds(40)
            try await server.withClient(configuration) { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in for number in 1...9 { world.append("\(number)", to: testConversation, by: testPeer) } }
                _ = try await events.entries(9)
                #expect(try await client.localConversation(testConversation)?.unread == 9)
                try await client.markRead(testConversation, through: 7)
                #expect(try await client.localConversation(testConversation)?.unread == 2)
                // An answer to something that was sent later says that the server has the mark.
                _ = try await client.send("answer", to: testConversation)
                let sent = try await server.with { $0.marks }
                #expect(sent.map(\.read).max() == 7)
                #expect(sent.count < 9)
                try await server.with { world in
                    var read = WireRead()
                    read.conversation = testConversation.rawValue
                    read.account = testPeer.rawValue
                    read.read = 4
                    read.delivered = 10
                    for session in world.sessions { session.send(WireServerFrame(.read(read))) }
                }
                let marks = try await events.first("marks") { if case .marks(let marks) = $0 { marks } else { nil } } as ReadMarks
                #expect(marks == ReadMarks(conversation: testConversation, account: testPeer, read: 4, delivered: 10))
                #expect(try await client.marks(of: testConversation) == [marks])
            }
        }
    }

    @Test("the local search finds text by what it contains, and takes wildcards literally")
    func search() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                for text in ["100% sure", "100 sure", "今天天气很好", "Under_score"] { try await client.send(text, to: testConversation) }
                _ = try await events.entries(4)
                #expect(try await client.search("100%").map(\.body) == ["100% sure"])
                #expect(try await client.search("天气").map(\.body) == ["今天天气很好"])
                #expect(try await client.search("under_").map(\.body) == ["Under_score"])
                #expect(try await client.search("sure", in: ConversationID(1)).isEmpty)
            }
        }
    }
}
