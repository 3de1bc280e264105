import ApusChaos
import ApusProtocol
import Foundation
import Testing

@Suite("Plays: TLS with clients", .serialized, .timeLimit(.minutes(3)))
struct TLSPlays {
    private struct Line: Decodable {
        var text: String?
    }

    /// A server with a certificate of an authority that nobody knows but those who are told.
    private func secured(_ story: (ServerProcess, URL, CertificateAuthority) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let authority = try await CertificateAuthority(directory: directory)
        let issued = try await authority.issue("server")
        let options = try ServerProcess.Options(
            arguments: ["--drain-seconds", "0", "--tls-certificate", issued.certificate, "--tls-key", issued.key])
        try await ServerProcess.with(options) { server, endpoints in
            try await story(server, try #require(URL(string: "https://\(endpoints.http)")), authority)
        }
    }

    @Test("People register, log in and chat over https, wss and TCP with TLS, trusting the authority that they named once", arguments: ["websocket", "json", "tcp"])
    func tour(transport: String) async throws {
        try await secured { _, server, authority in
            try await Terminal.with(server: server.absoluteString) { terminal in
                for person in ["alice", "bob"] { try await terminal.register(person, ["--ca", authority.certificate]) }
                let tail = try terminal.start("bob", ["tail", "--json", "--transport", transport])
                var heard = tail.lines.makeAsyncIterator()
                try await terminal.must("alice", ["send", "--transport", transport, "--to", "bob", "in private"])
                let line = try JSONDecoder().decode(Line.self, from: Data(try #require(await heard.next()).utf8))
                #expect(line.text == "in private")
                tail.interrupt()
                _ = await tail.end()
            }
        }
    }
}
