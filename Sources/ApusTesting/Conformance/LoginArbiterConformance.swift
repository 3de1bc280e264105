import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers

/// The promises of ``LoginArbiter``, with the arbiters of several nodes; two of the same process are two nodes as well.
public enum LoginArbiterConformance {
    public static let cases: [ConformanceCase<[any LoginArbiter]>] = [
        .init("turns of an account exclude each other on all nodes, and each is confirmed", exclusion),
        .init("turns of two accounts do not wait for each other", accounts),
        .init("a turn that fails gives way to the next", failure),
    ]

    private static func exclusion(_ arbiters: [any LoginArbiter]) async throws {
        let inside = NIOLockedValueBox((now: 0, most: 0, all: 0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<10 {
                let arbiter = arbiters[number % arbiters.count]
                group.addTask {
                    try await arbiter.withTurn(of: AccountID(1)) { turn in
                        inside.withLockedValue { $0 = ($0.now + 1, max($0.most, $0.now + 1), $0.all + 1) }
                        await Task.yield()
                        try await turn.confirm()
                        inside.withLockedValue { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        try expectEqual(inside.withLockedValue { $0.most }, 1, "turns at the same time")
        try expectEqual(inside.withLockedValue { $0.all }, 10, "turns")
    }

    private static func accounts(_ arbiters: [any LoginArbiter]) async throws {
        let first = try require(arbiters.first, "an arbiter")
        let second = try require(arbiters.last, "an arbiter")
        let value = try await first.withTurn(of: AccountID(1)) { _ in
            try await second.withTurn(of: AccountID(2)) { _ in 5 }
        }
        try expectEqual(value, 5, "what the body returned")
    }

    private static func failure(_ arbiters: [any LoginArbiter]) async throws {
        for arbiter in arbiters {
            try await expectRefusal(.conflict, "what the body threw") {
                try await arbiter.withTurn(of: AccountID(1)) { _ in throw ApusError(.conflict, "of the test") }
            }
        }
        for arbiter in arbiters { try await arbiter.withTurn(of: AccountID(1)) { try await $0.confirm() } }
    }
}
