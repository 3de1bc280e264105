import ApusChaos
import ApusProtocol
import Foundation
import TestNacos
import Testing

extension Plays {
    /// The nodes find each other through Nacos. The head sweep is slow in these stories: what comes in time came from a node that the other
    /// one had found.
    @Suite("Plays: a cluster whose registry is Nacos", .serialized, .timeLimit(.minutes(3)))
    struct NacosPlays {
        private static let login = (username: "apus", password: "p@ss")

        private func play(_ story: (Play, LocalCluster, NacosServer) async throws -> Void) async throws {
            try await NacosServer.with(.init(login: Self.login)) { nacos in
                let registry = "nacos://apus:p%40ss@127.0.0.1:\(nacos.port)?group=CHAT"
                try await Play.cluster(["--delivery-sweep-seconds", "60", "--cluster-registry", registry]) { play, cluster in
                    // The nodes ask Nacos once a second.
                    try await cluster.wait { cluster.nodes(of: "socket").allSatisfy { Self.linkCount(of: $0) > 0 } }
                    try await story(play, cluster, nacos)
                }
            }
        }

        /// How often another node has been found and connected to.
        private static func linkCount(of node: LocalCluster.Node) -> Int {
            node.process.log.text.matches(of: /peer link is open/).count
        }

        @Test("Alice and Bob chat across nodes; the node of one dies, comes back with another life, and they go on")
        func chat() async throws {
            try await play { play, cluster, nacos in
                #expect(nacos.instanceCount == cluster.nodes.count)
                #expect(nacos.services.allSatisfy { $0.grouped.hasPrefix("CHAT@@") })
                let (_, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, bobDevice, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let room = try await aliceDevice.direct(with: bobPerson)
                try await alice.say("one", in: room, clientID: "a-1")
                #expect(try await bob.nextEntry().body == "one")

                let links = Self.linkCount(of: cluster.socketNode(0))
                await cluster.socketNode(1).process.kill()
                #expect(try await bob.closeCode() == nil)
                try await alice.say("two", in: room, clientID: "a-2")
                try await cluster.socketNode(1).process.start()
                let back = try await bobDevice.connect(to: cluster.socketNode(1))
                try await cluster.wait { Self.linkCount(of: cluster.socketNode(0)) > links }
                try await alice.say("three", in: room, clientID: "a-3")
                #expect(try await back.nextEntry().body == "three")
                #expect(try await bobDevice.history(of: room).map(\.body) == ["one", "two", "three"])
            }
        }

        @Test("Nacos forgets all nodes, and is down for a while: they register again, and nobody who chats notices")
        func outage() async throws {
            try await play { play, cluster, nacos in
                let (_, aliceDevice, alice) = try await play.connect("alice", to: cluster.socketNode(0))
                let (bobPerson, _, bob) = try await play.connect("bob", to: cluster.socketNode(1))
                let room = try await aliceDevice.direct(with: bobPerson)

                nacos.forgetInstances()
                try await alice.say("while it knows nobody", in: room, clientID: "a-1")
                #expect(try await bob.nextEntry().body == "while it knows nobody")
                try await cluster.wait { nacos.instanceCount == cluster.nodes.count }

                nacos.fail(with: 503)
                try await cluster.wait { nacos.failedRequestCount > cluster.nodes.count }
                try await alice.say("while it is down", in: room, clientID: "a-2")
                #expect(try await bob.nextEntry().body == "while it is down")
                let carol = try await play.register("carol")
                #expect(try await carol.login().connect(to: cluster.socketNode(0)).isAlive())

                nacos.forgetInstances()
                nacos.fail(with: nil)
                try await cluster.wait { nacos.instanceCount == cluster.nodes.count }
                try await alice.say("afterwards", in: room, clientID: "a-3")
                #expect(try await bob.nextEntry().body == "afterwards")
            }
        }

        @Test("Settings follow the document in Nacos")
        func settings() async throws {
            try await play { play, _, nacos in
                let alice = try await play.register("alice").login()
                func groupsOf(_ members: Int) async throws -> Bool {
                    var others: [Person] = []
                    for number in 1..<members { others.append(try await play.register("other\(number)-\(UInt32.random(in: 0 ... .max))")) }
                    do {
                        _ = try await alice.group("group", others)
                        return true
                    } catch let refusal as Play.Refusal where (400..<500).contains(refusal.status) {
                        return false
                    }
                }
                #expect(try await groupsOf(3))
                try await nacos.publish("apus.yaml", "group: {members-max: 2}\n", group: "CHAT")
                while try await groupsOf(3) {}
                #expect(try await groupsOf(2))
                try await nacos.publish("apus.yaml", "group: {members-max: 3}\n", group: "CHAT")
                while try await !groupsOf(3) {}
            }
        }
    }
}
