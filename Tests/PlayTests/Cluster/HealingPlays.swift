import ApusChaos
import ApusProtocol
import Foundation
import Testing

extension Plays {
    /// The relay and the routes are hints: without them nothing is lost, and what was wrong becomes right by itself.
    @Suite("Plays: hand-over that fails loses nothing and heals", .serialized, .timeLimit(.minutes(3)))
    struct HealingPlays {
        /// What came sooner than this after it was sent did not come by a sweep of four seconds, which waits for half of that.
        private static let soonerThanSweep = Duration.milliseconds(1_500)
        private static let sweep = ["--delivery-sweep-seconds", "4"]

        /// From before the send until the other person hears it.
        private func delay(_ text: String, from sender: PlaySocket, to reader: PlaySocket, in room: ConversationID) async throws -> Duration
        {
            let began = ContinuousClock.now
            try await sender.say(text, in: room, clientID: text.replacing(" ", with: "-"))
            _ = try await reader.entries(through: text)
            return .now - began
        }

        /// Whether it is by the relay that messages come. More than one try: a busy machine may delay one.
        private func isRelayed(_ name: String, from sender: PlaySocket, to reader: PlaySocket, in room: ConversationID) async throws -> Bool
        {
            for number in 1...5 {
                if try await delay("\(name) \(number)", from: sender, to: reader, in: room) < Self.soonerThanSweep { return true }
            }
            return false
        }

        @Test("With the relay switched off a message arrives within one sweep interval")
        func noRelay() async throws {
            // Nobody listens where the nodes say that they do.
            try await Play.cluster(["--peer-advertise", "127.0.0.1:1"]) { play, cluster in
                let (_, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, _, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let room = try await aliceDevice.direct(with: bobPerson)
                // A session that has heard nothing of a conversation is pointed to its head; by what it says itself it is in the conversation.
                try await alice.say("first", in: room, clientID: "first")
                let head = try await bob.next { body in if case .head(let head) = body { head } else { nil } }
                #expect(head.conversation == room.rawValue && head.seq == 1)
                try await bob.say("I am here", in: room, clientID: "here")

                for number in 1...5 {
                    let delay = try await delay("message \(number)", from: alice, to: bob, in: room)
                    // Two seconds by default; the rest is for a busy machine. Nothing else than the sweep is there to bring it.
                    #expect(delay < .seconds(3))
                    #expect(delay > .milliseconds(900), "the relay was not off")
                }
                for number in 1...50 { try await alice.say("many \(number)", in: room, clientID: "many-\(number)") }
                #expect(try await bob.entries(through: "many 50", but: bobPerson) == (1...50).map { "many \($0)" })
            }
        }

        @Test("Routes that are wrong (a dead node, a live one that is not it, the sender's own, none) lose nothing and become right")
        func staleRoutes() async throws {
            try await Play.cluster(Self.sweep) { play, cluster in
                let (alicePerson, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                var readers: [(person: Person, socket: PlaySocket)] = []
                for name in ["bob", "carol", "dave", "erin"] {
                    let (person, _, socket) = try await play.connect(name, to: cluster.socketNode(1))
                    readers.append((person, socket))
                }
                let room = try await aliceDevice.group("plans", readers.map(\.person))
                let own = try #require(try await cluster.nodes(of: alicePerson).first)
                let right = try #require(try await cluster.nodes(of: readers[0].person).first)
                let another = try #require(try await cluster.liveNodes().subtracting([own, right]).min())
                let number = try #require(right.split(separator: ".").first)
                let wrong: [LocalCluster.Misroute] = [.node("\(number).1"), .node(another), .node(own), .deleted]
                for (reader, change) in zip(readers, wrong) { try await cluster.misroute(reader.person, to: change) }

                for number in 1...10 { try await alice.say("astray \(number)", in: room, clientID: "astray-\(number)") }
                for reader in readers {
                    let heard = try await reader.socket.entries(through: "astray 10").filter { $0.kind == .text }
                    #expect(heard.map(\.body) == (1...10).map { "astray \($0)" })
                }

                for reader in readers { try await cluster.wait { try await cluster.nodes(of: reader.person) == [right] } }
                for reader in readers {
                    let direct = try await aliceDevice.direct(with: reader.person)
                    #expect(try await isRelayed("healed", from: alice, to: reader.socket, in: direct))
                }
            }
        }

        private func chat(_ alice: PlaySocket, _ bob: PlaySocket, in room: ConversationID, rounds: Int) async throws {
            for number in 1...rounds {
                try await alice.say("alice \(number)", in: room, clientID: "alice-\(number)")
                try await bob.say("bob \(number)", in: room, clientID: "bob-\(number)")
            }
        }

        /// What Redis goes through.
        enum Loss: CaseIterable { case emptied, killed }

        @Test("Redis loses everything while people chat: nothing is lost, and routes are back", arguments: Loss.allCases)
        func redisLost(_ loss: Loss) async throws {
            try await Play.cluster(Self.sweep) { play, cluster in
                let (alicePerson, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, _, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let room = try await aliceDevice.direct(with: bobPerson)
                let before = (try await cluster.nodes(of: alicePerson), try await cluster.nodes(of: bobPerson))
                #expect(try await isRelayed("before", from: alice, to: bob, in: room))

                let rounds = 40
                async let said: Void = chat(alice, bob, in: room, rounds: rounds)
                switch loss {
                case .emptied:
                    for _ in 0..<3 { _ = try await RedisServer.ask(port: cluster.redisPort, ["FLUSHALL"]) }
                    try await said
                case .killed:
                    await cluster.redis.kill()
                    try await said
                    try await cluster.redis.start()
                }
                try await alice.say("that was all", in: room, clientID: "end-a")
                try await bob.say("of me too", in: room, clientID: "end-b")
                let bobHeard = try await bob.entries(through: "that was all", but: bobPerson)
                #expect(bobHeard == (1...rounds).map { "alice \($0)" } + ["that was all"])
                let aliceHeard = try await alice.entries(through: "of me too", but: alicePerson)
                #expect(aliceHeard == (1...rounds).map { "bob \($0)" } + ["of me too"])

                try await cluster.wait {
                    try await (cluster.nodes(of: alicePerson), cluster.nodes(of: bobPerson)) == before
                }
                #expect(try await isRelayed("after", from: alice, to: bob, in: room))
                #expect(try await isRelayed("back", from: bob, to: alice, in: room))
            }
        }

        @Test("A socket node is killed: its client goes to the other one by itself, and misses nothing")
        func nodeKilled() async throws {
            let lines = 200
            try await Play.cluster { play, cluster in
                try await Terminal.with(play) { terminal in
                    let (alice, bob) = (try await play.register("alice"), try await play.register("bob"))
                    try await terminal.login("alice")
                    try await terminal.login("bob")
                    let room = try await alice.login().direct(with: bob).description
                    let tail = try terminal.start("bob", ["tail", "--conversation", room, "--from", "1", "--json"])
                    let send = try terminal.start("alice", ["send", "--conversation", room, "--stdin"])
                    var (heard, acknowledged) = (tail.lines.makeAsyncIterator(), send.lines.makeAsyncIterator())

                    var texts: [String] = []
                    for part in 0..<2 {
                        try await cluster.wait { try await !cluster.nodes(of: bob).isDisjoint(with: cluster.liveNodes()) }
                        let place = try await cluster.nodes(of: bob)
                        let first = try await cluster.id(of: cluster.socketNode(0), in: play)
                        let victim = cluster.socketNode(place.contains(first) ? 0 : 1)

                        let begin = part * lines / 2
                        try send.type((0..<lines / 4).map { "line \(begin + $0)\n" }.joined())
                        for _ in 0..<20 { _ = try #require(await acknowledged.next()) }
                        await victim.process.kill()
                        try send.type((lines / 4..<lines / 2).map { "line \(begin + $0)\n" }.joined())
                        for _ in 20..<lines / 2 { _ = try #require(await acknowledged.next()) }
                        while texts.count < begin + lines / 2 { texts.append(try Text(try #require(await heard.next())).text) }
                        #expect(try await !cluster.nodes(of: bob).subtracting(place).isEmpty, "Bob is where he was")
                        try await victim.process.start()
                    }
                    send.endInput()
                    #expect(try await send.end().code == 0)
                    #expect(texts == (0..<lines).map { "line \($0)" })
                    tail.interrupt()
                    _ = try await tail.end()
                }
            }
        }

        private struct Text: Decodable {
            var text: String

            init(_ line: String) throws { self = try JSONDecoder().decode(Text.self, from: Data(line.utf8)) }
        }
    }
}
