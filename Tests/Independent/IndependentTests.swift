import ApusChaos
import Foundation
import Testing

let directory = URL(filePath: #filePath).deletingLastPathComponent()
/// Made by `make test`. Not standardized, which resolves links: by this link Python knows its environment.
let python = directory.deletingLastPathComponent().deletingLastPathComponent().appending(path: ".venv/bin/python")

@Suite(
    "Clients that nobody here wrote",
    .enabled(
        if: FileManager.default.isExecutableFile(atPath: python.path),
        "needs a Python with Tests/Independent/requirements.txt in .venv; `make test` makes it"),
    .timeLimit(.minutes(3)))
struct IndependentTests {
    @Test("a client on Python's websockets chats over the JSON subprotocol as Docs/protocol.md describes it")
    func socketJSON() async throws {
        try await tell("socket_json.py")
    }

    @Test("Authlib gets, refreshes, verifies and revokes tokens, knowing only the discovery document")
    func oauth() async throws {
        let service = "probe:a secret of some length"
        try await tell("oauth.py", ["--service", service], environment: ["APUS_AUTH_CLIENTS": "\(service):internal"])
    }

    /// Runs one story against a server of its own.
    private func tell(_ story: String, _ arguments: [String] = [], environment: [String: String] = [:]) async throws {
        let options = try ServerProcess.Options(arguments: ["--drain-seconds", "0"], environment: environment)
        try await ServerProcess.with(options) { server, endpoints in
            let script = directory.appending(path: story).path
            // -B: no __pycache__ in the sources.
            let result = try await Command.run(python, ["-B", script, "http://\(endpoints.http)"] + arguments, timeout: .seconds(120))
            let told = "\(result.output)\n\(result.errors)\nlog of the server:\n\(server.log.text)"
            #expect(result.exit == .code(0), "\(told)")
            #expect(result.output.hasSuffix("done\n"), "\(told)")
            try await server.terminate()
        }
    }
}
