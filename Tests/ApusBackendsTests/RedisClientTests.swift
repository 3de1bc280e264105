#if Cluster
import ApusChaos
import ApusCore
import ApusProtocol
import Logging
import NIOPosix
import Testing

@testable import ApusBackends

/// A client of the test's own, closed afterwards.
func withRedisClient<Result: Sendable>(
    _ url: String, timeout: Duration = .seconds(10), commandsMax: Int = 65_536, _ body: (RedisClient) async throws -> Result
) async throws -> Result {
    var configuration = try RedisConfiguration(url: url)
    configuration.commandTimeout = timeout
    configuration.commandsMax = commandsMax
    let client = try RedisClient(
        configuration: configuration, group: .singletonMultiThreadedEventLoopGroup, logger: Logger(label: "test.redis"))
    do {
        let result = try await body(client)
        await client.close()
        return result
    } catch {
        await client.close()
        throw error
    }
}

func isUnavailable(_ error: any Error) -> Bool { (error as? ApusError)?.code == .unavailable }

@Suite("Redis: the client against real servers") struct RedisClientTests {
    @Test("Commands of many tasks at once each get their own reply")
    func pipelining() async throws {
        try await RedisServer.with { _, port in
            try await withRedisClient("redis://127.0.0.1:\(port)") { client in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for task in 0..<100 {
                        group.addTask {
                            for number in 0..<20 {
                                let replies = try await client.send([
                                    RedisCommand("SET", "k\(task)", "\(number)"), RedisCommand("GET", "k\(task)"),
                                    RedisCommand(["ECHO", "\(task) \(number)"], key: nil),
                                ])
                                #expect(replies.map(\.text) == ["OK", "\(number)", "\(task) \(number)"])
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                await #expect { try await client.send(RedisCommand("INCR", "k1", "x")) } throws: { ($0 as? ApusError)?.code == .internal }
            }
        }
    }

    @Test("A script is sent once by its source and then by its digest, also after Redis forgot it")
    func scripts() async throws {
        let script = RedisScript("return {KEYS[1], ARGV[1]}")
        try await RedisServer.with { _, port in
            try await withRedisClient("redis://127.0.0.1:\(port)") { client in
                for _ in 0..<2 {
                    for number in 0..<2 {
                        let reply = try await client.send(RedisCommand(script, keys: ["a"], arguments: ["\(number)"]))
                        #expect(reply.array?.map(\.text) == ["a", "\(number)"])
                    }
                    try await client.send(RedisCommand(["SCRIPT", "FLUSH"], key: nil))
                }
                #expect(
                    try await client.send(RedisCommand(["INFO", "commandstats"], key: nil)).text?.contains("cmdstat_eval:calls=2") == true)
            }
        }
    }

    @Test("Over TLS with a password; without the password, with a wrong one or without trust: unavailable")
    func security() async throws {
        try await RedisServer.withTLS(password: "p@ss") { _, port, certificate in
            let trust = "ca=\(certificate.certificate)"
            for host in ["127.0.0.1", "localhost"] {
                try await withRedisClient("rediss://:p%40ss@\(host):\(port)?\(trust)") { client in
                    let reply = try await client.send(RedisCommand(["PING"], key: nil))
                    #expect(reply.text == "PONG")
                }
            }
            for (url, code) in [
                ("rediss://:p%40ss@127.0.0.1:\(port)?\(trust)", nil), ("rediss://:wrong@127.0.0.1:\(port)?\(trust)", ErrorCode.forbidden),
                ("rediss://127.0.0.1:\(port)?\(trust)", .forbidden), ("rediss://:p%40ss@127.0.0.1:\(port)", .unavailable),
            ] {
                try await withRedisClient(url) { client in
                    var refusal: (any Error)?
                    do { try await client.check() } catch { refusal = error }
                    #expect((refusal as? ApusError)?.code == code)
                }
            }
            for url in [
                "rediss://:wrong@127.0.0.1:\(port)?\(trust)", "rediss://127.0.0.1:\(port)?\(trust)", "rediss://:p%40ss@127.0.0.1:\(port)",
            ] {
                try await withRedisClient(url, timeout: .milliseconds(400)) { client in
                    await #expect(performing: { try await client.send(RedisCommand(["PING"], key: nil)) }, throws: isUnavailable)
                    return
                }
            }
        }
    }
}
#endif
