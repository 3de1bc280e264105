import ApusChaos
import ApusProtocol
import Foundation
import Testing

extension Plays {
    /// The README's tour, with the commands that a person types.
    @Suite("Plays: the tour through the terminal client", .serialized, .timeLimit(.minutes(3)))
    struct TourPlays {
        private struct Line: Decodable {
            var id: String
            var conversation: String
            var seq: Seq
            var sender: String?
            var kind: String?
            var text: String?
            var at: String?

            init(_ json: String) throws { self = try JSONDecoder().decode(Line.self, from: Data(json.utf8)) }
        }

        @Test(
            "Two people register, chat, find each other online, and read what was said; the server restarts in the middle",
            arguments: Stage.allCases)
        func tour(stage: Stage) async throws {
            try await Play.run(on: stage) { play in
                try await Terminal.with(play) { terminal in
                    try await terminal.register("alice")
                    try await terminal.register("bob")
                    let tail = try terminal.start("bob", ["tail", "--json"])
                    var heard = tail.lines.makeAsyncIterator()

                    let sent = try Line(await terminal.must("alice", ["send", "--to", "bob", "Hello, Bob!"]).output)
                    let first = try Line(try #require(await heard.next()))
                    #expect(first.text == "Hello, Bob!" && first.id == sent.id && first.seq == sent.seq && first.kind == "text")
                    #expect(first.at?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil)

                    try await play.restart(.terminated)

                    let room = sent.conversation
                    let reply = try Line(await terminal.must("bob", ["send", "--conversation", room, "Hello,", "Alice!"]).output)
                    #expect(reply.seq == sent.seq + 1)
                    try await terminal.must("alice", ["send", "--to", "bob", "still there?"])
                    // A tail shows everything that happens, what its own person said elsewhere too.
                    #expect(try Line(try #require(await heard.next())).text == "Hello, Alice!")
                    #expect(try Line(try #require(await heard.next())).text == "still there?")

                    let history = try await terminal.must("alice", ["history", "--conversation", room, "--all", "--json"])
                    #expect(try history.lines.map { try Line($0).text } == ["Hello, Bob!", "Hello, Alice!", "still there?"])
                    #expect(try await terminal.must("alice", ["online"]).output.contains("bob"))
                    #expect(try await terminal.must("alice", ["conversations", "--json"]).lines.count == 1)

                    tail.interrupt()
                    _ = try await tail.end()
                }
            }
        }

        @Test("A group is made, renamed, grown and left, and everybody sees what they may", arguments: Stage.allCases)
        func group(stage: Stage) async throws {
            try await Play.run(on: stage) { play in
                try await Terminal.with(play) { terminal in
                    for name in ["alice", "bob", "carol"] { try await terminal.register(name) }
                    let made = try await terminal.must("alice", ["group", "create", "plans", "bob"]).output
                    let room = try JSONDecoder().decode(ConversationInfo.self, from: Data(made.utf8)).id.description
                    try await terminal.must("alice", ["send", "--conversation", room, "before carol"])
                    try await terminal.must("alice", ["group", "invite", "--conversation", room, "carol"])
                    try await terminal.must("bob", ["group", "rename", "--conversation", room, "better plans"])
                    try await terminal.must("carol", ["send", "--conversation", room, "carol is here"])
                    try await terminal.must("bob", ["group", "leave", "--conversation", room])
                    try await terminal.must("alice", ["send", "--conversation", room, "without bob"])

                    func texts(_ person: String) async throws -> [String] {
                        let history = try await terminal.must(person, ["history", "--conversation", room, "--all", "--json"])
                        return try history.lines.map { try Line($0) }.filter { $0.kind == "text" }.compactMap(\.text)
                    }
                    #expect(try await texts("alice") == ["before carol", "carol is here", "without bob"])
                    #expect(try await texts("bob") == ["before carol", "carol is here"])
                    #expect(try await texts("carol") == ["carol is here", "without bob"])
                    let refused = try await terminal.run("bob", ["send", "--conversation", room, "let me in"])
                    #expect(refused.code == 1 && refused.output.isEmpty && refused.errors.contains("member"))
                    #expect(try await terminal.must("alice", ["conversations"]).output.contains("better plans"))
                }
            }
        }

        @Test("send --stdin and tail ride out kills of the server: each line once, in order, acknowledged", arguments: Stage.allCases)
        func ridesOutKills(stage: Stage) async throws {
            let lines = 600
            try await Play.run(on: stage) { play in
                try await Terminal.with(play) { terminal in
                    try await terminal.register("alice")
                    try await terminal.register("bob")
                    let room = try Line(await terminal.must("alice", ["send", "--to", "bob", "first"]).output).conversation
                    let tail = try terminal.start("bob", ["tail", "--conversation", room, "--from", "1", "--json"])
                    let send = try terminal.start("alice", ["send", "--conversation", room, "--stdin"])
                    var acknowledged = send.lines.makeAsyncIterator()
                    var heard = tail.lines.makeAsyncIterator()

                    var acks: [Line] = []
                    for part in 0..<3 {
                        try send.type((0..<lines / 3).map { "line \(part * lines / 3 + $0)\n" }.joined())
                        // Some of the part is on its way when the server dies.
                        for _ in 0..<20 { acks.append(try Line(try #require(await acknowledged.next()))) }
                        try await play.restart(.killed)
                    }
                    send.endInput()
                    while let line = await acknowledged.next() { acks.append(try Line(line)) }
                    let ended = try await send.end()
                    #expect(ended.code == 0, "\(ended.errors)")
                    #expect(acks.map(\.seq) == Array(2...Seq(lines + 1)))

                    var entries: [Line] = []
                    while entries.count <= lines { entries.append(try Line(try #require(await heard.next()))) }
                    #expect(entries.map(\.seq) == Array(1...Seq(lines + 1)))
                    #expect(entries.map(\.text) == ["first"] + (0..<lines).map { "line \($0)" })
                    #expect(entries.dropFirst().map(\.id) == acks.map(\.id))
                    tail.interrupt()
                    _ = try await tail.end()
                }
            }
        }

        @Test("A command that cannot do its work says so with its exit code, and prints no data", arguments: Stage.allCases)
        func failures(stage: Stage) async throws {
            try await Play.run(on: stage) { play in
                try await Terminal.with(play) { terminal in
                    try await terminal.register("alice")
                    let nobody = try await terminal.run("alice", ["send", "--to", "nobody", "hello?"])
                    #expect(nobody.code == 1 && nobody.output.isEmpty && nobody.errors.contains("nobody"))
                    let stranger = try await terminal.run("stranger", ["send", "--to", "alice", "hello?"])
                    #expect(stranger.code == 77 && stranger.output.isEmpty)
                    let taken = ["register", "--server", terminal.server, "--username", "alice", "--password-stdin"]
                    #expect(try await terminal.run("other", taken, input: "\(Person.password)\n").code == 1)
                    let wrong = ["login", "--server", terminal.server, "--username", "alice", "--password-stdin"]
                    #expect(try await terminal.run("other", wrong, input: "not the password\n").code == 77)
                }
            }
        }
    }
}
