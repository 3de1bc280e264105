import ApusChaos
import Foundation
import Testing

@Suite("Plays: a node whose servers are not there", .serialized, .timeLimit(.minutes(4)))
struct WaitingPlays {
    @Test("It says what it waits for, on every listener that is probed, goes on by itself, and says later what has gone")
    func waiting() async throws {
        try await ClusterServers.with { servers in
            let http = "127.0.0.1:\(try await MiddlewareProcess.freePort())"
            let gateway = "127.0.0.1:\(try await MiddlewareProcess.freePort())"
            try await servers.withNode(["--roles", "all", "--http", http, "--gateway", gateway]) { node, start in
                for address in [http, gateway] {
                    try await NodeHealth.become(.waiting("mysql", "redis", "registry"), at: address)
                    #expect(try await NodeHealth.of(address, "/healthz") == NodeHealth(httpStatus: 200, status: "alive"))
                }
                try await servers.startRedis()
                try await NodeHealth.become(.waiting("mysql", "registry"), at: http)
                try await servers.startZooKeeper()
                try await NodeHealth.become(.waiting("mysql"), at: http)
                // Once for each change of what is missing, and rarely after that.
                let lines = node.log.text.split(separator: "\n").filter { $0.contains("waiting for mysql") }
                #expect((3...8).contains(lines.count), "\(lines)")
                #expect(!node.log.text.contains(MariaDBServer.password))

                try await servers.startMariaDB()
                let endpoints = try await start.value
                #expect(endpoints.http == http && endpoints.gateway == gateway)
                for address in [http, gateway] { try await NodeHealth.become(.ready, at: address) }

                // Messages flow without Redis, so the node is ready, and says what is wrong.
                await servers.redis?.kill()
                try await NodeHealth.become(NodeHealth(httpStatus: 200, status: "ready", missing: ["redis"]), at: http)
                try await servers.redis?.start()
                try await NodeHealth.become(.ready, at: http)
                await servers.mariaDB?.kill()
                try await NodeHealth.become(.waiting("mysql"), at: http)
                try await servers.mariaDB?.start()
                try await NodeHealth.become(.ready, at: http)
                try await node.terminate()
            }
        }
    }

    @Test("SIGTERM ends a node that waits, with 0", arguments: [["--roles", "auth"], ["--roles", "gateway"]])
    func terminated(roles: [String]) async throws {
        try await ClusterServers.with { servers in
            let address = "127.0.0.1:\(try await MiddlewareProcess.freePort())"
            try await servers.withNode(roles + ["--http", address, "--gateway", address]) { node, start in
                try await NodeHealth.become(.waiting("mysql", "redis", "registry"), at: address)
                try await node.terminate()
                await #expect(throws: ServerProcessError.self) { try await start.value }
            }
        }
    }

    @Test("What waiting does not cure ends the start, with what is wrong and without the secret")
    func refused() async throws {
        try await ClusterServers.with { servers in
            try await servers.startAll()
            func end(_ environment: [String: String], _ code: Int32, says text: String, not secret: String) async throws {
                try await servers.withNode(["--roles", "auth"], environment: environment) { node, start in
                    let failure = await #expect(throws: ServerProcessError.self) { try await start.value }
                    #expect(failure?.description.contains("exit code \(code)\n") == true, "\(failure?.description ?? "")")
                    #expect(node.log.text.contains(text), "\(node.log.text)")
                    #expect(!node.log.text.contains(secret), "\(node.log.text)")
                }
            }
            try await end(servers.environment(password: "not-the-password"), 74, says: "Access denied", not: "not-the-password")
            try await end(servers.environment(database: "nonsuch"), 74, says: "nonsuch", not: MariaDBServer.password)
            var environment = servers.environment()
            environment["APUS_CLUSTER_REDIS"] = "redis://someone:not-the-password@127.0.0.1:\(servers.redisPort)"
            try await end(environment, 78, says: "cluster.redis: ", not: "not-the-password")
            environment = servers.environment()
            environment["APUS_CLUSTER_STORE"] = "mysql://apus:a-password@127.0.0.1/"
            try await end(environment, 78, says: "cluster.store: ", not: "a-password")
        }
    }
}
