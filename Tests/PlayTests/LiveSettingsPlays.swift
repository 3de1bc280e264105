import ApusChaos
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import Testing

@Suite("Plays: settings that change while a cluster runs", .serialized, .timeLimit(.minutes(4)))
struct LiveSettingsPlays {
    private struct Client {
        var gateway: String
        let browser = "https://chat.example"

        /// The status of one attempt to log in as nobody, and what a browser's page is told.
        func login() async throws -> (status: UInt, allowedOrigin: String?) {
            var request = HTTPClientRequest(url: "http://\(gateway)\(HTTPPath.token)")
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
            request.headers.add(name: "origin", value: browser)
            request.body = .bytes(
                ByteBuffer(string: "grant_type=password&username=nobody&password=nothing%20at%20all&device_name=play&platform=linux"))
            let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
            _ = try await response.body.collect(upTo: 1 << 16)
            return (response.status.code, response.headers.first(name: "access-control-allow-origin"))
        }
    }

    /// Returns when it is so. There is no event for it: it is asked.
    private func eventually(_ what: String, _ isSo: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while try await !isSo() {
            guard ContinuousClock.now < deadline else { throw ServerProcessError("not in time: \(what)") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    @Test("Limits, log level, policies and origins follow the document in ZooKeeper; a bad document is refused and changes nothing")
    func follow() async throws {
        try await ClusterServers.with { servers in
            try await servers.startAll()
            let unlimited = ["--limits-logins-per-address", "0", "--limits-logins-per-account", "0"]
            try await servers.withNode(["--roles", "all", "--log-level", "notice"] + unlimited) { node, start in
                let client = Client(gateway: try await start.value.gateway)
                for _ in 0..<40 { #expect(try await client.login().status == 400) }
                #expect(try await client.login().allowedOrigin == "*")
                #expect(!node.log.text.contains(" debug "))

                // One a minute; and thirty at once, which is the least that is let through.
                try await servers.write(
                    "limits: {logins-per-address: 1}\nlog: {level: debug}\ngateway: {policy: round-robin}\nhttp: {cors-origins: [\"https://other.example\"]}\n"
                )
                try await eventually("the limit holds") { try await client.login().status == 429 }
                #expect(try await client.login().allowedOrigin == nil)
                try await eventually("debug lines are logged") { node.log.text.contains(" debug ") }

                try await servers.write("limits: {logins-per-address: -1}\nhttp: {listen: \"127.0.0.1:1\"}\n")
                try await eventually("the refusal is logged") { node.log.text.contains("the document is refused; the settings stay") }
                #expect(node.log.text.contains("limits.logins-per-address: '-1' is not permitted"))
                #expect(node.log.text.contains("http.listen cannot change while the server runs"))
                #expect(try await client.login().status == 429)

                try await servers.write("log: {level: debug}\n")
                try await eventually("the limit is lifted") { try await client.login().status == 400 }
                #expect(try await client.login().allowedOrigin == "*")
                try await node.terminate()
            }
        }
    }

    @Test("The sizes of groups and pages, the device policy and the number of connections follow it too")
    func roles() async throws {
        try await ClusterServers.with { servers in
            try await servers.startAll()
            try await servers.withNode(["--roles", "all"]) { node, start in
                let play = Play(server: node, endpoints: try await start.value)
                let (alice, device, socket) = try await play.connect("alice")
                let others = [try await play.register("bob"), try await play.register("carol")]
                let room = try await device.group("before", others)
                for number in 1...3 { _ = try await socket.say("message \(number)", in: room, clientID: "m-\(number)") }
                func pageSize() async throws -> Int {
                    let page: EntryPage = try await play.call(
                        .GET, "\(HTTPPath.conversations)/\(room)/entries?from=1&limit=200", token: device.token)
                    return page.entries.count
                }
                #expect(try await pageSize() > 2)

                try await servers.write(
                    """
                    group: {members-max: 2}
                    delivery: {page-entries-max: 1}
                    socket: {connections-max: 1}
                    auth: {device-policy: single-kick}
                    """)
                try await eventually("pages have one entry") { try await pageSize() == 1 }
                let refusal = await #expect(throws: Play.Refusal.self) { try await device.group("after", others) }
                #expect(refusal.map { (400..<500).contains($0.status) } == true, "\(String(describing: refusal))")
                // Whoever is in stays; another one finds no place.
                await #expect(throws: (any Error).self) { try await device.connect() }
                _ = try await socket.say("still here", in: room, clientID: "m-4")
                _ = try await alice.login()
                await #expect(throws: Play.Refusal.self) { try await play.send(.GET, HTTPPath.devices, token: device.token) }
                try await node.terminate()
            }
        }
    }
}
