import ApusCore
import ApusServer
import Foundation
import Testing

@testable import apus

@Suite("Configuration of the server")
struct ConfigurationTests {
    private func load(_ arguments: [String] = [], _ environment: [String: String] = [:]) async throws -> ServerConfiguration {
        try await ConfigurationLoader.load(arguments: arguments, environment: environment)
    }

    private func problems(_ arguments: [String] = [], _ environment: [String: String] = [:]) async throws -> [String] {
        let error = await #expect(throws: ConfigurationError.self) { try await load(arguments, environment) }
        return try #require(error).problems
    }

    /// Runs `body` with a file of this content.
    private func withFile(_ name: String, _ content: String, _ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: name)
        try Data(content.utf8).write(to: file)
        try await body(file.path)
    }

    @Test("Without any source every setting has its default")
    func defaults() async throws {
        #expect(try await load() == ServerConfiguration())
    }

    @Test("Each default is a value that its own setting permits")
    func defaultsArePermitted() async throws {
        let environment = Dictionary(uniqueKeysWithValues: ConfigurationKey.table.map { ($0.environment, $0.defaultText) })
        #expect(try await load([], environment) == ServerConfiguration())
    }

    @Test("The command line wins over the environment, the environment over the file")
    func precedence() async throws {
        try await withFile("apus.yaml", "http:\n  listen: 1.1.1.1:1\nsocket:\n  listen: 1.1.1.1:2\ntcp:\n  listen: 1.1.1.1:3\n") { file in
            let configuration = try await load(
                ["--http", "3.3.3.3:1", "--config=\(file)"], ["APUS_HTTP": "2.2.2.2:1", "APUS_SOCKET": "2.2.2.2:2"])
            #expect(configuration.http.listen == NetworkAddress(host: "3.3.3.3", port: 1))
            #expect(configuration.socket.listen == NetworkAddress(host: "2.2.2.2", port: 2))
            #expect(configuration.tcp.listen == NetworkAddress(host: "1.1.1.1", port: 3))
        }
    }

    @Test("YAML and JSON files say the same, lists and numbers included")
    func fileFormats() async throws {
        let yaml = """
            data: /srv/apus
            log: {level: debug, format: json}
            auth:
              device-policy: single-kick
              clients: ["bot:0123456789abcdef:internal read"]
            socket: {heartbeat-seconds: 7}
            """
        let json = """
            {"data": "/srv/apus", "log": {"level": "debug", "format": "json"}, "socket": {"heartbeat-seconds": 7},
             "auth": {"device-policy": "single-kick", "clients": ["bot:0123456789abcdef:internal read"]}}
            """
        var expected = ServerConfiguration()
        expected.data = "/srv/apus"
        expected.log = .init(level: .debug, format: .json)
        expected.auth.devicePolicy = .singleKick
        expected.auth.clients = [ServiceClient(id: "bot", secret: "0123456789abcdef", scopes: ["internal", "read"])]
        expected.socket.heartbeatSeconds = 7
        try await withFile("apus.yaml", yaml) { file in
            let configuration = try await load(["--config", file])
            #expect(configuration == expected)
        }
        try await withFile("apus.json", json) { file in
            let configuration = try await load([], ["APUS_CONFIG": file])
            #expect(configuration == expected)
        }
    }

    @Test("A path may contain a comma")
    func commaInPath() async throws {
        #expect(try await load(["--data", "/srv/a,b"]).data == "/srv/a,b")
    }

    @Test("An unknown name stops the start, whichever source it is in")
    func unknownNames() async throws {
        #expect(try await problems(["--htp", "x:1"]) == ["command line: there is no option --htp; `apus serve --help` lists them all"])
        #expect(
            try await problems([], ["APUS_HTTP_PORT": "1"])
                == ["environment: APUS_HTTP_PORT is no setting of Apus; `apus serve --help` lists them all"])
        try await withFile("apus.yml", "http: {port: 80}\n") { file in
            let found = try await problems(["--config", file])
            #expect(found == ["file \(file): there is no setting http.port; `apus serve --help` lists them all"])
        }
    }

    @Test("Variables of the terminal client and of others do not disturb a server")
    func foreignVariables() async throws {
        #expect(try await load([], ["APUS_HOME": "/h", "APUS_PROFILE": "alice", "PATH": "/bin"]) == ServerConfiguration())
    }

    @Test("A value that is not permitted is named with its source, itself and what is permitted")
    func badValues() async throws {
        #expect(
            try await problems(["--socket-heartbeat-seconds", "0"])
                == ["command line: --socket-heartbeat-seconds: '0' is not permitted; permitted: 1 to 3600 seconds"])
        #expect(
            try await problems([], ["APUS_THREADS": "many"])
                == ["environment: APUS_THREADS: 'many' is not permitted; permitted: 0 to 256"])
        try await withFile("apus.json", #"{"auth": {"device-policy": 7}}"#) { file in
            let permitted = "all, one-per-platform, single-reject, single-kick"
            let found = try await problems(["--config", file])
            #expect(found == ["file \(file): auth.device-policy: '7' is not permitted; permitted: \(permitted)"])
        }
    }

    @Test("A bad value in a source that is overruled stays unnoticed by none: the winning source is the one that counts")
    func overruledValue() async throws {
        #expect(try await load(["--threads", "2"], ["APUS_THREADS": "many"]).threads == 2)
    }

    @Test("Half of a certificate stops the start, with clients and between nodes; what is for a cluster means nothing to a single server")
    func halfOfTLS() async throws {
        for half in [["--tls-certificate", "a.crt"], ["--tls-key", "a.key"]] {
            #expect(try await problems(half) == ["tls.certificate and tls.key: both are set, or none is"])
        }
        #expect(try await load(["--tls-certificate", "a.crt", "--tls-key", "a.key"]).tls.isOn)

        let cluster = [
            "APUS_CLUSTER_STORE": "mysql://u:p@h:1/d", "APUS_CLUSTER_REDIS": "redis://h:1", "APUS_CLUSTER_REGISTRY": "zookeeper://h:1/apus",
            "APUS_CLUSTER_SECRET": String(repeating: "s", count: 32),
        ]
        let files = ["APUS_CLUSTER_CERTIFICATE": "a.crt", "APUS_CLUSTER_KEY": "a.key", "APUS_CLUSTER_AUTHORITY": "ca.crt"]
        #expect(try await load([], cluster.merging(files) { $1 }).cluster.isEncrypted)
        for name in files.keys {
            let some = files.filter { $0.key != name }
            #expect(
                try await problems([], cluster.merging(some) { $1 })
                    == ["cluster.certificate, cluster.key and cluster.authority: all three are set, or none is"])
        }
        for alone in [files, ["APUS_CLUSTER_RELAY": "nats://h:1"]] {
            #expect(
                try await problems([], alone)
                    == ["cluster.certificate, cluster.key, cluster.authority and cluster.relay are for the nodes of a cluster"])
        }
        #expect(try await load([], cluster.merging(["APUS_CLUSTER_RELAY": "nats://u:p@h:1"]) { $1 }).cluster.relay == "nats://u:p@h:1")
        let refused = try await problems([], cluster.merging(["APUS_CLUSTER_RELAY": "kafka://u:hidden@h:1"]) { $1 })
        #expect(refused.count == 1 && refused[0].contains("peer, or nats://") && !refused[0].contains("hidden"))
    }

    @Test("A secret never appears in a complaint")
    func secretsStayHidden() async throws {
        let problems = try await problems([], ["APUS_AUTH_CLIENTS": "bot:short-secret:internal"])
        #expect(problems.count == 1)
        #expect(problems[0].contains("APUS_AUTH_CLIENTS"))
        #expect(!problems[0].contains("short-secret"))
    }

    @Test("All problems are reported at once")
    func allProblems() async throws {
        #expect(try await problems(["--nonsense", "1", "--threads", "-1", "stray"], ["APUS_X": "y"]).count == 4)
    }

    @Test("An option without a value and one given twice are refused")
    func malformedOptions() async throws {
        #expect(try await problems(["--http", "--tcp", "h:1"]).first == "command line: --http needs a value")
        #expect(try await problems(["--http", "h:1", "--http=h:2"]).first == "command line: --http is given more than once")
    }

    @Test("A configuration file that is missing, of another type or unreadable stops the start")
    func badFiles() async throws {
        #expect(try await problems(["--config", "/nonexistent/apus.yaml"])[0].hasPrefix("file /nonexistent/apus.yaml: cannot be read"))
        #expect(try await problems(["--config", "apus.ini"]) == ["file apus.ini: the name must end in .yaml, .yml or .json"])
        try await withFile("apus.json", "{\"data\": ") { file in
            let found = try await problems(["--config", file])
            #expect(found.first?.hasPrefix("file \(file): cannot be read") == true)
        }
    }

    @Test("A body that no frame could carry is refused")
    func bodyLargerThanFrame() async throws {
        let problems = try await problems(["--socket-body-bytes-max", "66000"])
        #expect(problems.count == 1)
        #expect(problems[0].contains("socket.frame-bytes-max"))
    }

    @Test("Names are unique in each source")
    func uniqueNames() {
        let table = ConfigurationKey.table
        #expect(Set(table.map(\.name)).count == table.count)
        #expect(Set(table.map(\.flag)).count == table.count)
        #expect(Set(table.map(\.environment)).count == table.count)
    }

    @Test(
        "Addresses are read and written alike",
        arguments: [("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:0", "::1", 0), ("chat.example:65535", "chat.example", 65535)])
    func addresses(text: String, host: String, port: Int) throws {
        let address = try #require(NetworkAddress(text))
        #expect(address == NetworkAddress(host: host, port: port))
        #expect(address.description == text)
    }

    @Test("What is no address is refused", arguments: ["8080", ":8080", "host:", "host:65536", "::1:80", "a b:1", "http://h:1", "h:-1"])
    func notAddresses(text: String) {
        #expect(NetworkAddress(text) == nil)
    }
}

@Suite("Documentation of the settings")
struct ConfigurationReferenceTests {
    @Test("The table in Docs/operations.md is the one of the program")
    func documentedTable() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let document = try String(contentsOf: root.appending(path: "Docs/operations.md"), encoding: .utf8)
        #expect(document.contains(ConfigurationKey.markdown), "Docs/operations.md must contain this table:\n\(ConfigurationKey.markdown)")
    }

    @Test("The help names every setting in its three spellings")
    func help() {
        for key in ConfigurationKey.table {
            #expect(ConfigurationKey.help.contains("--\(key.flag) \(key.placeholder)  (or \(key.environment); in a file \(key.name))"))
        }
    }
}
