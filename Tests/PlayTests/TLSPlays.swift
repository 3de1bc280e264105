import ApusChaos
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOSSL
import Testing

@Suite("Plays: TLS with clients", .serialized, .timeLimit(.minutes(3)))
struct TLSPlays {
    private struct Line: Decodable {
        var text: String?

        init(_ json: String?) throws { self = try JSONDecoder().decode(Line.self, from: Data(try #require(json).utf8)) }
    }

    private struct Discovery: Decodable {
        var issuer: String
        var token_endpoint: String
    }

    /// Two authorities; one of them has issued the server's certificate.
    private struct Authorities {
        var first: CertificateAuthority
        var second: CertificateAuthority
        var files: CertificateAuthority.Issued

        static func with(_ body: (Authorities) async throws -> Void) async throws {
            let directory = FileManager.default.temporaryDirectory.appending(path: "apus-tls-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: directory) }
            func authority(_ name: String) async throws -> CertificateAuthority {
                let folder = directory.appending(path: name)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                return try await CertificateAuthority(directory: folder)
            }
            let first = try await authority("1")
            try await body(Authorities(first: first, second: try await authority("2"), files: try await first.issue("server")))
        }

        /// The server's files are of the second authority from now on.
        func swap() async throws {
            let new = try await second.issue("server")
            for (from, to) in [(new.certificate, files.certificate), (new.key, files.key)] {
                try Data(contentsOf: URL(filePath: from)).write(to: URL(filePath: to), options: .atomic)
            }
        }
    }

    private func secured(_ story: (URL, Authorities) async throws -> Void) async throws {
        try await Authorities.with { authorities in
            let files = authorities.files
            let settings = ["--tls-certificate", files.certificate, "--tls-key", files.key, "--drain-seconds", "0"]
            try await ServerProcess.with(try .init(arguments: settings)) { _, endpoints in
                try await story(try #require(URL(string: "https://\(endpoints.http)")), authorities)
            }
        }
    }

    @Test(
        "People register, log in and chat over https, wss and TCP with TLS, trusting the authority that they named once",
        arguments: ["websocket", "json", "tcp"])
    func tour(transport: String) async throws {
        try await secured { server, authorities in
            try await Terminal.with(server: server.absoluteString) { terminal in
                for person in ["alice", "bob"] { try await terminal.register(person, ["--ca", authorities.first.certificate]) }
                let tail = try terminal.start("bob", ["tail", "--json", "--transport", transport])
                var heard = tail.lines.makeAsyncIterator()
                try await terminal.must("alice", ["send", "--transport", transport, "--to", "bob", "in private"])
                #expect(try Line(await heard.next()).text == "in private")
                tail.interrupt()
                _ = try await tail.end()
            }
        }
    }

    @Test("Who does not trust the server's authority, or comes without TLS, gets no connection and is told why")
    func distrust() async throws {
        try await secured { server, authorities in
            try await Terminal.with(server: server.absoluteString) { terminal in
                let register = ["register", "--username", "alice", "--password-stdin", "--server"]
                for (address, trust, reason) in [
                    (server.absoluteString, [], "certificate"),
                    (server.absoluteString, ["--ca", authorities.second.certificate], "certificate"),
                    (server.absoluteString.replacing("https:", with: "http:"), ["--ca", authorities.first.certificate], "reached"),
                ] {
                    let ended = try await terminal.run("alice", register + [address] + trust, input: "\(Person.password)\n")
                    #expect(ended.code == 69 && ended.errors.contains(reason), "\(address) \(trust): \(ended.code) \(ended.errors)")
                }
            }
        }
    }

    @Test("What the server says of itself is https and wss")
    func discovery() async throws {
        try await secured { server, authorities in
            var trust = TLSConfiguration.makeClientConfiguration()
            trust.trustRoots = .file(authorities.first.certificate)
            var request = HTTPClientRequest(url: server.absoluteString + HTTPPath.discovery)
            request.tlsConfiguration = trust
            let body = try await HTTPClient.shared.execute(request, timeout: .seconds(20)).body.collect(upTo: 65_536)
            let document = try JSONDecoder().decode(Discovery.self, from: Data(body.readableBytesView))
            #expect(document.issuer == server.absoluteString)
            #expect(document.token_endpoint == server.absoluteString + HTTPPath.token)
        }
    }

    @Test("A certificate is swapped while the server runs: who is connected stays, who comes now meets the new one")
    func swap() async throws {
        try await secured { server, authorities in
            try await Terminal.with(server: server.absoluteString) { terminal in
                for person in ["alice", "bob"] { try await terminal.register(person, ["--ca", authorities.first.certificate]) }
                let tail = try terminal.start("bob", ["tail", "--json"])
                var heard = tail.lines.makeAsyncIterator()
                let send = ["send", "--to", "bob"]
                try await terminal.must("alice", send + ["before"])
                #expect(try Line(await heard.next()).text == "before")

                try await authorities.swap()
                // There is no event for the server's next look at its files. Ends with the time limit of the test.
                let devices = ["devices", "--ca", authorities.second.certificate]
                while try await terminal.run("alice", devices).code != 0 { try await Task.sleep(for: .milliseconds(200)) }
                #expect(try await terminal.run("alice", ["devices"]).code == 69)
                try await terminal.must("alice", send + ["after", "--ca", authorities.second.certificate])
                #expect(try Line(await heard.next()).text == "after")
                tail.interrupt()
                _ = try await tail.end()
            }
        }
    }

    @Test("Files that cannot be used end the start with a word on which")
    func badFiles() async throws {
        try await Authorities.with { authorities in
            let files = authorities.files
            for (certificate, key) in [
                (files.certificate, "/nowhere/server.key"), (files.key, files.key), (files.certificate, files.certificate),
            ] {
                let error = await #expect(throws: ServerProcessError.self) {
                    try await ServerProcess.with(try .init(arguments: ["--tls-certificate", certificate, "--tls-key", key])) { _, _ in }
                }
                let text = error?.description ?? ""
                #expect(text.contains("78") && text.contains("tls.certificate") && text.contains(key), "\(text)")
            }
        }
    }
}
