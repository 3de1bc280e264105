import ApusCore
import Foundation
import Logging
import Testing

@testable import apus

@Suite("Settings that change while the server runs")
struct LiveConfigurationTests {
    private func problems(_ document: String, _ live: inout LiveConfiguration) -> [String] {
        do {
            try live.apply(document)
            return []
        } catch let error as ConfigurationError {
            return error.problems
        } catch {
            return ["\(error)"]
        }
    }

    @Test("A document changes live settings, in YAML and in JSON; what it no longer names is again as at the start")
    func apply() throws {
        var start = ServerConfiguration()
        start.groupMembersMax = 50
        var live = LiveConfiguration(start)
        try live.apply("log:\n  level: debug\nauth: {device-policy: single-kick}\ngroup:\n  members-max: 7\n")
        #expect(live.current.log.level == .debug)
        #expect(live.current.auth.devicePolicy == .singleKick)
        #expect(live.current.groupMembersMax == 7)
        try live.apply(#"{"log": {"level": "error"}, "socket": {"connections-max": 5}}"#)
        var expected = start
        expected.log.level = .error
        expected.socket.connectionsMax = 5
        #expect(live.current == expected)
    }

    @Test("A document without settings is what the server was started with", arguments: ["", "\n  \n", "# log: {level: debug}\n---\n"])
    func emptyDocument(document: String) throws {
        var live = LiveConfiguration(ServerConfiguration())
        try live.apply("log: {level: debug}")
        try live.apply(document)
        #expect(live.current == ServerConfiguration())
    }

    @Test("A bad value, an unknown name and a setting that is not live are refused in words; the old settings stay, good ones beside too")
    func refusal() throws {
        var live = LiveConfiguration(ServerConfiguration())
        try live.apply("group: {members-max: 7}")
        let before = live.current
        let found = problems(
            "group: {members-max: 1}\nlog: {level: debug, levl: x}\nhttp: {listen: '1.2.3.4:80'}\nauth: {device-policy: [a, b]}\n", &live)
        #expect(
            found == [
                "auth.device-policy: 'a,b' is not permitted; permitted: all, one-per-platform, single-reject, single-kick",
                "group.members-max: '1' is not permitted; permitted: 2 to 100000",
                "http.listen cannot change while the server runs",
                "there is no setting log.levl; `apus serve --help` lists them all",
            ])
        #expect(live.current == before)
    }

    @Test(
        "What is no document is refused and changes nothing",
        arguments: [
            "{\"log\": ", "just words", "- a\n- b\n", "a: [1", String(repeating: "x", count: LiveConfiguration.documentBytesMax + 1),
        ])
    func noDocument(document: String) throws {
        var live = LiveConfiguration(ServerConfiguration())
        try live.apply("group: {members-max: 7}")
        let before = live.current
        #expect(problems(document, &live).count == 1)
        #expect(live.current == before)
    }

    @Test("No secret is live: a refused value is shown")
    func secrets() {
        #expect(!ConfigurationKey.table.contains { $0.isLive && $0.isSecret })
        #expect(ConfigurationKey.table.filter(\.isLive).map(\.name).contains("log.level"))
    }

    @Test("Following a document hands on each change, skips what is wrong and what changes nothing")
    func follower() async throws {
        let (texts, writer) = AsyncStream.makeStream(of: String.self)
        for text in ["", "group: {members-max: 7}", "group: {members-max: x}", "group:\n  members-max: 7", "group: {members-max: 9}"] {
            writer.yield(text)
        }
        writer.finish()
        let (applied, applying) = AsyncStream.makeStream(of: Int.self)
        let follower = LiveConfigurationFollower(
            centre: ScriptedCentre(texts: texts), document: "apus.yaml", start: ServerConfiguration(), logger: Logger(label: "test")
        ) { applying.yield($0.groupMembersMax) }
        await follower.run()
        applying.finish()
        #expect(await applied.reduce(into: []) { $0.append($1) } == [7, 9])
    }
}

private struct ScriptedCentre: ConfigurationCentre {
    let texts: AsyncStream<String>

    func text(of name: String) async throws -> String { "" }

    func changes(of name: String) -> AsyncStream<String> { texts }
}
