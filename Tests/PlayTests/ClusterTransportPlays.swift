import ApusChaos
import ApusProtocol
import Foundation
import Testing

/// Two people on two socket nodes.
@Suite("Plays: what carries messages between nodes", .serialized, .timeLimit(.minutes(4)))
struct ClusterTransportPlays {
    private struct Talk {
        var alice: PlaySocket
        var bob: PlaySocket
        var room: ConversationID

        /// Each answers the other.
        func exchange(_ rounds: Int, _ topic: String) async throws {
            for round in 0..<rounds {
                for (speaker, listener, name) in [(alice, bob, "a"), (bob, alice, "b")] {
                    let text = "\(topic) \(name) \(round)"
                    try await speaker.say(text, in: room, clientID: text.replacing(" ", with: "-"))
                    #expect(try await listener.nextEntry().body == text)
                }
            }
        }
    }

    /// - Parameter sweepSeconds: so long that what comes sooner came by the hand-over.
    private func talk(
        _ options: LocalCluster.Options, sweepSeconds: Int, _ story: (LocalCluster, Talk) async throws -> Void
    ) async throws {
        var options = options
        options.nodes = ["gateway": 1, "auth": 1, "web": 1, "user": 1, "socket": 2]
        options.settings = LocalCluster.Options.forTests + ["--delivery-sweep-seconds", "\(sweepSeconds)"]
        try await LocalCluster.with(options) { cluster in
            let sockets = cluster.nodes(of: "socket").map(\.process)
            let play = Play(server: sockets[0], endpoints: try await cluster.endpoints())
            let (alice, bob) = (try await play.register("alice"), try await play.register("bob"))
            let (left, right) = (try await alice.login(), try await bob.login())
            var connections: [PlaySocket] = []
            for (process, login) in zip(sockets, [left, right]) {
                let socket = try await PlaySocket.open(.webSocket(.protobuf), try #require(await process.endpoints))
                try await socket.hello(login.token)
                connections.append(socket)
            }
            try await story(cluster, Talk(alice: connections[0], bob: connections[1], room: try await left.direct(with: bob)))
        }
    }

    @Test("Inside TLS the nodes find keys, answer the gateway and hand over; who has a certificate of another authority does not get in")
    func encrypted() async throws {
        var options = try LocalCluster.Options()
        options.isEncrypted = true
        try await talk(options, sweepSeconds: 300) { cluster, talk in
            try await talk.exchange(5, "private")

            let directory = FileManager.default.temporaryDirectory.appending(path: "apus-tls-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: directory) }
            let issued = try await CertificateAuthority(directory: directory).issue("stranger")
            var environment = cluster.environment
            environment["APUS_CLUSTER_CERTIFICATE"] = issued.certificate
            environment["APUS_CLUSTER_KEY"] = issued.key
            let stranger = try ServerProcess.Options(
                arguments: ["--roles", "socket"] + LocalCluster.Options.forTests, environment: environment, timeout: .seconds(8))
            let error = await #expect(throws: ServerProcessError.self) { try await ServerProcess.with(stranger) { _, _ in } }
            // It waits for the keys of an auth node, which does not tell it anything.
            #expect(error?.description.contains("cannot read the published keys") == true, "\(error?.description ?? "")")
            try await talk.exchange(2, "still private")
        }
    }

    @Test("Through NATS messages reach the other node at once; while NATS is dead they come with the sweep, and none is lost")
    func nats() async throws {
        var options = try LocalCluster.Options()
        options.relay = .nats
        try await talk(options, sweepSeconds: 10) { cluster, talk in
            let nats = try #require(cluster.nats)
            // By the sweep alone each of them would take seconds.
            let began = ContinuousClock.now
            try await talk.exchange(10, "by NATS")
            #expect(ContinuousClock.now - began < .seconds(30))

            await nats.kill()
            for number in 1...20 { try await talk.alice.say("unheard \(number)", in: talk.room, clientID: "unheard-\(number)") }
            for number in 1...20 { #expect(try await talk.bob.nextEntry().body == "unheard \(number)") }

            try await nats.start()
            // libnats connects again by itself, in some quarters of a second.
            try await talk.exchange(1, "back")
            let again = ContinuousClock.now
            try await talk.exchange(10, "by NATS again")
            #expect(ContinuousClock.now - again < .seconds(30))
        }
    }
}
