import ApusChaos
import ApusProtocol
import Testing

extension Plays {
    /// The head sweep is slow in these stories: what comes in time came by a route in Redis.
    @Suite("Plays: a cluster on other kinds of Redis", .serialized, .timeLimit(.minutes(2)))
    struct RedisPlays {
        private func chatsAcrossNodes(on redis: String) async throws {
            try await Play.cluster(["--delivery-sweep-seconds", "60", "--cluster-redis", redis]) { play, cluster in
                let (_, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, bobDevice, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let (carolPerson, _, carol) = try await play.connect("carol", to: cluster.socketNode(1))
                let group = try await aliceDevice.group("all", [bobPerson, carolPerson])
                for number in 1...10 { try await alice.say("message \(number)", in: group, clientID: "a-\(number)") }
                for (person, socket) in [(bobPerson, bob), (carolPerson, carol)] {
                    #expect(try await socket.entries(through: "message 10", but: person) == (1...10).map { "message \($0)" })
                }
                let online: OnlineList = try await play.call(.GET, HTTPPath.online, token: aliceDevice.token)
                #expect(online.accounts.map(\.username).sorted() == ["alice", "bob", "carol"])
                // A login that ends reaches the session on the other node.
                try await play.send(.DELETE, "\(HTTPPath.devices)/\(try #require(bobDevice.tokens.device))", token: bobDevice.token)
                _ = try #require(try await bob.closeCode())
                #expect(try await carol.isAlive())
            }
        }

        @Test("People on different nodes chat, are online and log out: on a Redis Cluster")
        func cluster() async throws {
            try await RedisServer.withCluster { _, ports in
                let seeds = ports.map { "127.0.0.1:\($0)" }.joined(separator: ",")
                try await chatsAcrossNodes(on: "redis://\(seeds)?cluster=true")
            }
        }

        @Test("The same on a Redis that wants TLS and a password")
        func encrypted() async throws {
            try await RedisServer.withTLS(password: "secret") { _, port, certificate in
                try await chatsAcrossNodes(on: "rediss://:secret@localhost:\(port)?ca=\(certificate.certificate)")
            }
        }
    }
}
