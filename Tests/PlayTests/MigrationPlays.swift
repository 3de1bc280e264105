#if Cluster
import ApusChaos
import ApusProtocol
import Foundation
import Testing

@Suite("Plays: from one node to a cluster", .serialized, .timeLimit(.minutes(5)))
struct MigrationPlays {
    /// What clients of the single node hold when it is stopped.
    private struct Before {
        var alice: Login
        var bob: Login
        var carol: Login
        var revoked: Login
        var direct: ConversationID
        var group: ConversationID
        var acknowledged: [AckFrame]
        var promised: AckFrame
        var due: Timestamp
        /// Bob's, of the socket's sync.
        var syncToken: String
        var histories: [[EntryInfo]]
        var conversations: [ConversationList]
        var members: MemberList
    }

    @Test("Clients go on after a migration with their tokens, numbers and repetitions; what was scheduled goes out once")
    func goesOn() async throws {
        try await MariaDBServer.with(syncsToDisk: false) { mariaDB in
            let single = try await Play.single { play, server in
                let before = try await live(on: play)
                let early = try await migrate(server, to: mariaDB)
                #expect(early.exit == .code(74) && early.errors.contains("another Apus server runs on this directory"))
                try await server.terminate()
                let done = try await migrate(server, to: mariaDB)
                #expect(done.exit == .code(0), "\(done.errors)")
                #expect(done.output.split(separator: "\n").dropFirst().allSatisfy { $0.hasSuffix("equal") && !$0.hasSuffix("NOT EQUAL") })
                return before
            }
            try await onCluster(over: mariaDB) { try await goOn(single, on: $0) }
        }
    }

    // MARK: The single node

    private func live(on play: Play) async throws -> Before {
        let (alicePerson, alice, aliceSocket) = try await play.connect("alice")
        let (bobPerson, bob, bobSocket) = try await play.connect("bob")
        let carolPerson = try await play.register("carol")
        let carol = try await carolPerson.login()
        let lost = try await alicePerson.login(platform: "ios")
        try await play.send(.DELETE, "\(HTTPPath.devices)/\(try #require(lost.tokens.device))", token: alice.token)

        let direct = try await alice.direct(with: bobPerson)
        let group = try await alice.group("plans — 计划", [bobPerson, carolPerson])
        var acknowledged: [AckFrame] = []
        for number in 1...20 {
            acknowledged.append(try await aliceSocket.say("message \(number) 🙂", in: group, clientID: "g-\(number)"))
            try await aliceSocket.say("to you: \(number)", in: direct, clientID: "d-\(number)")
            if number == 10 { try await play.send(.DELETE, "\(HTTPPath.conversations)/\(group)/members/me", token: carol.token) }
        }
        var read = WireRead()
        read.conversation = direct.rawValue
        read.read = 7
        try await bobSocket.send(WireClientFrame(ref: 5, .read(read)))
        let due = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) + 6_000)
        let promised = try await aliceSocket.say("later", in: direct, clientID: "later-1", deliverAt: due)
        let syncToken = try await sync(bobSocket, token: "").token
        let members: MemberList = try await play.call(.GET, "\(HTTPPath.conversations)/\(group)/members", token: alice.token)
        return Before(
            alice: alice, bob: bob, carol: carol, revoked: lost, direct: direct, group: group, acknowledged: acknowledged,
            promised: promised, due: due, syncToken: syncToken, histories: try await histories([alice, bob, carol], [direct, group]),
            conversations: try await conversations([alice, bob, carol]), members: members)
    }

    private func histories(_ people: [Login], _ rooms: [ConversationID]) async throws -> [[EntryInfo]] {
        var histories: [[EntryInfo]] = []
        for person in people.prefix(2) {
            for room in rooms { histories.append(try await person.history(of: room)) }
        }
        // She is no member of the direct one, and left the group.
        if let left = people.last, let group = rooms.last { histories.append(try await left.history(of: group)) }
        return histories
    }

    private func conversations(_ people: [Login]) async throws -> [ConversationList] {
        var lists: [ConversationList] = []
        for person in people { lists.append(try await person.play.call(.GET, HTTPPath.conversations, token: person.token)) }
        return lists
    }

    private func sync(_ socket: PlaySocket, token: String) async throws -> WireHeads {
        var sync = WireSync()
        sync.token = token
        try await socket.send(WireClientFrame(ref: 6, .sync(sync)))
        while true {
            switch try await socket.next() {
            case .frame(.other(let frame)): if case .heads(let heads) = frame.body { return heads }
            case .frame: continue
            case .closed: throw PlaySocket.Unexpected(description: "closed instead of heads")
            }
        }
    }

    private func migrate(_ server: ServerProcess, to mariaDB: MariaDBServer) async throws -> Command.Result {
        try await Command.run(
            try ApusBinary.locate(), ["migrate", "--from", "sqlite:\(server.data.path)"],
            environment: ["APUS_CLUSTER_STORE": mariaDB.url()], timeout: .seconds(60))
    }

    // MARK: The cluster

    private func onCluster(over mariaDB: MariaDBServer, _ story: (Play) async throws -> Void) async throws {
        try await RedisServer.with { _, redisPort in
            try await ZooKeeperServer.with { _, zooKeeperPort in
                let options = try ServerProcess.Options(
                    arguments: ["--roles", "all"] + LocalCluster.Options.forTests,
                    environment: [
                        "APUS_CLUSTER_STORE": mariaDB.url(), "APUS_CLUSTER_REDIS": "redis://127.0.0.1:\(redisPort)",
                        "APUS_CLUSTER_REGISTRY": "zookeeper://127.0.0.1:\(zooKeeperPort)/apus",
                        "APUS_CLUSTER_SECRET": String(repeating: "secret-of-the-play-", count: 3),
                    ])
                try await ServerProcess.with(options) { server, endpoints in
                    var entrance = endpoints
                    entrance.http = endpoints.gateway
                    try await story(Play(server: server, endpoints: entrance))
                }
            }
        }
    }

    private func goOn(_ before: Before, on cluster: Play) async throws {
        func moved(_ login: Login) -> Login { Login(play: cluster, tokens: login.tokens) }
        let (alice, bob, carol) = (moved(before.alice), moved(before.bob), moved(before.carol))
        let bobSocket = try await bob.connect()
        let aliceSocket = try await alice.connect()

        // The scheduled message: pushed, unless it was due before anybody was there.
        var log = try await bob.history(of: before.direct)
        if log.count == before.histories[2].count {
            #expect(try await bobSocket.nextEntry().body == "later")
            log = try await bob.history(of: before.direct)
        }
        let later = try #require(log.last)
        #expect(later.body == "later" && later.id == before.promised.id && later.at >= before.due && later.seq == 21)

        // History, conversations and members are as they were, but for that message.
        var histories = try await histories([alice, bob, carol], [before.direct, before.group])
        for place in [0, 2] { histories[place].removeLast() }
        #expect(histories == before.histories)
        let lists = try await conversations([alice, bob, carol])
        #expect(lists.map { $0.conversations.map(\.id) } == before.conversations.map { $0.conversations.map(\.id) })
        #expect(lists.map { $0.conversations.map(\.memberCount) } == before.conversations.map { $0.conversations.map(\.memberCount) })
        #expect(lists[1].conversations.first { $0.id == before.direct }?.read == 7)
        let members: MemberList = try await cluster.call(.GET, "\(HTTPPath.conversations)/\(before.group)/members", token: alice.token)
        #expect(members.members.map(\.account) == before.members.members.map(\.account))

        // A client's own position from before: it hears of every head, whatever it had seen.
        #expect(
            Set(try await sync(bobSocket, token: before.syncToken).heads.map(\.conversation)) == [
                before.direct.rawValue, before.group.rawValue,
            ])

        // Repetitions are answered as the first time, numbers go on.
        #expect(try await aliceSocket.say("message 7 🙂", in: before.group, clientID: "g-7") == before.acknowledged[6])
        #expect(
            try await aliceSocket.say("later", in: before.direct, clientID: "later-1", deliverAt: before.due).id == before.promised.id)
        let next = try await aliceSocket.say("message 21 🙂", in: before.group, clientID: "g-21")
        #expect(next.seq == (before.acknowledged.last?.seq ?? 0) + 1)
        #expect(next.id > (before.acknowledged.last?.id ?? next.id))
        #expect(try await bob.history(of: before.direct).filter { $0.body == "later" }.count == 1)

        try await checkDevices(before, on: cluster)
    }

    private func checkDevices(_ before: Before, on cluster: Play) async throws {
        await #expect(throws: Play.Refusal.self, "the revoked device is in again") {
            try await cluster.send(.GET, HTTPPath.conversations, token: before.revoked.token)
        }
        let refresh = try #require(before.alice.tokens.refreshToken)
        try await cluster.send(
            .POST, HTTPPath.token, body: Data("grant_type=refresh_token&refresh_token=\(refresh)".utf8),
            contentType: "application/x-www-form-urlencoded")
        // The password too.
        _ = try await Person(play: cluster, name: "bob", id: AccountID(1)).login()
    }
}
#endif
