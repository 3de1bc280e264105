import ApusChaos
import Testing

/// All suites of plays are in this one, so that their clusters share MariaDB and ZooKeeper.
@Suite("Plays", .serialized, .sharedServers)
enum Plays {}

/// Servers that start when the first play of the suite needs them, and end with the suite.
struct SharedServersTrait: SuiteTrait, TestScoping {
    @TaskLocal static var servers: SharedServers?

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await SharedServers.with { servers in
            try await Self.$servers.withValue(servers) { try await function() }
        }
    }
}

extension Trait where Self == SharedServersTrait {
    static var sharedServers: Self { Self() }
}
