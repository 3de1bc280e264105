import ApusChaos
import ApusProtocol
import Foundation
import Testing

extension Plays {
    /// What one process does by itself has to go between two here. The head sweep is slow in these stories: what comes in time came by the
    /// relay.
    @Suite("Plays: people on different nodes", .serialized, .timeLimit(.minutes(2)))
    struct AcrossNodesPlays {
        private static let slowSweep = ["--delivery-sweep-seconds", "60"]

        private func play(
            _ settings: [String] = [], _ story: (Play, LocalCluster) async throws -> Void
        ) async throws {
            try await Play.cluster(Self.slowSweep + settings, story)
        }

        @Test("Alice on one node and Bob on another chat directly; Carol makes it a group; everybody hears everything once, in order")
        func chat() async throws {
            try await play { play, cluster in
                let (alicePerson, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, _, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let (carolPerson, _, carol) = try await play.connect("carol", to: cluster.socketNode(0))
                let aliceIsOn = try await cluster.nodes(of: alicePerson)
                let bobIsOn = try await cluster.nodes(of: bobPerson)
                #expect(aliceIsOn.count == 1 && bobIsOn.count == 1 && aliceIsOn != bobIsOn)
                #expect(try await cluster.nodes(of: carolPerson) == aliceIsOn)

                let direct = try await aliceDevice.direct(with: bobPerson)
                for number in 1...20 {
                    try await alice.say("to bob \(number)", in: direct, clientID: "a-\(number)")
                    try await bob.say("to alice \(number)", in: direct, clientID: "b-\(number)")
                }
                // An entry of one's own comes, too, where the node repaired a gap.
                #expect(try await bob.entries(through: "to bob 20", but: bobPerson) == (1...20).map { "to bob \($0)" })
                #expect(try await alice.entries(through: "to alice 20", but: alicePerson) == (1...20).map { "to alice \($0)" })

                let group = try await aliceDevice.group("plans", [bobPerson, carolPerson])
                let speakers = [(alicePerson, alice), (bobPerson, bob), (carolPerson, carol)]
                for number in 1...10 {
                    for (person, socket) in speakers {
                        try await socket.say("\(person.name) \(number)", in: group, clientID: "\(person.name)-\(number)")
                    }
                }
                for (person, socket) in speakers {
                    let last = person.name == "carol" ? "bob 10" : "carol 10"
                    let heard = try await socket.entries(through: last, but: person)
                    #expect(heard == Self.said(by: speakers.map(\.0.name), to: person.name))
                }
            }
        }

        /// What three people said in turns, ten times, without what this one said.
        private static func said(by names: [String], to listener: String) -> [String] {
            (1...10).flatMap { number in names.filter { $0 != listener }.map { "\($0) \(number)" } }
        }

        @Test("Typing and read marks reach the other person on the other node, and the reader's other device")
        func signals() async throws {
            try await play { play, cluster in
                let (alicePerson, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, bobDevice, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let bobsOther = try await bobPerson.login(platform: "ios").connect(to: cluster.socketNode(0))
                let room = try await aliceDevice.direct(with: bobPerson)

                var typing = WireTyping()
                typing.conversation = room.rawValue
                try await alice.send(WireClientFrame(ref: 3, .typing(typing)))
                let typist = try await bob.next { body in if case .typing(let typing) = body { typing.account } else { nil } }
                #expect(typist == alicePerson.id.rawValue)

                let said = try await alice.say("have you seen this?", in: room, clientID: "seen-1")
                #expect(try await bob.nextEntry().seq == said.seq)
                var mark = WireRead()
                mark.conversation = room.rawValue
                mark.read = said.seq
                try await bob.send(WireClientFrame(ref: 4, .read(mark)))
                for socket in [alice, bobsOther] {
                    let read = try await socket.next { body in if case .read(let mark) = body, mark.read > 0 { mark } else { nil } }
                    #expect(read.account == bobPerson.id.rawValue && read.read == said.seq)
                }
                #expect(try await bobDevice.history(of: room).count == 1)
            }
        }

        /// How a login ends, and what closes.
        enum Ending: CaseIterable { case revoked, loggedOut, deleted }

        @Test(
            "A login that ends at the auth node closes its connection on whatever socket node within a second", arguments: Ending.allCases)
        func ends(_ ending: Ending) async throws {
            try await play { play, cluster in
                let alice = try await play.register("alice")
                let (phone, laptop) = (try await alice.login(platform: "ios"), try await alice.login(platform: "macos"))
                let phoneSocket = try await phone.connect(to: cluster.socketNode(0))
                let laptopSocket = try await laptop.connect(to: cluster.socketNode(1))
                let began = ContinuousClock.now
                switch ending {
                case .revoked:
                    try await play.send(.DELETE, "\(HTTPPath.devices)/\(try #require(phone.tokens.device))", token: laptop.token)
                case .loggedOut:
                    let refresh = try #require(phone.tokens.refreshToken)
                    try await play.send(
                        .POST, HTTPPath.revoke, body: Data("token=\(refresh)".utf8), contentType: "application/x-www-form-urlencoded")
                case .deleted:
                    let body = try JSONEncoder().encode(AccountDeletion(password: Person.password))
                    try await play.send(.DELETE, HTTPPath.account, token: laptop.token, body: body)
                }
                _ = try #require(try await phoneSocket.closeCode())
                #expect(ContinuousClock.now - began < .seconds(1))
                if ending == .deleted {
                    _ = try #require(try await laptopSocket.closeCode())
                    #expect(ContinuousClock.now - began < .seconds(1))
                } else {
                    #expect(try await laptopSocket.isAlive())
                }
            }
        }

        @Test("Policy single-kick: a login that connects to one node ends the one on the other")
        func singleKick() async throws {
            try await play(["--auth-device-policy", "single-kick"]) { play, cluster in
                let alice = try await play.register("alice")
                for round in 0..<2 {
                    let first = try await alice.login().connect(to: cluster.socketNode(round))
                    let second = try await alice.login(platform: "ios").connect(to: cluster.socketNode(1 - round))
                    #expect(try await first.closeCode() == .deviceRevoked)
                    #expect(try await second.isAlive())
                }
            }
        }

        @Test("Who is online is right across nodes: after coming, going, and the death of a node")
        func online() async throws {
            try await play { play, cluster in
                let (_, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (_, _, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let (_, _, carol) = try await play.connect("carol", to: cluster.socketNode(1))
                func online() async throws -> [String] {
                    let list: OnlineList = try await play.call(.GET, HTTPPath.online, token: aliceDevice.token)
                    #expect(list.count == list.accounts.count)
                    return list.accounts.map(\.username)
                }
                #expect(try await online() == ["alice", "bob", "carol"])
                try await bob.close()
                try await cluster.wait { try await online() == ["alice", "carol"] }
                await cluster.socketNode(1).process.kill()
                #expect(try await carol.closeCode() == nil)
                // The node's life ends by itself, some seconds later.
                try await cluster.wait { try await online() == ["alice"] }
                #expect(try await alice.isAlive())
            }
        }
    }
}
