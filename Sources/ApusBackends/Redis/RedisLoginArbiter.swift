#if Cluster
import ApusCore
import ApusProtocol
import Foundation
import Logging

/// Turns among all nodes of the auth role: a key per account that holds the name of the turn, with a time after which it is free again, so
/// that a node that dies in its turn does not lock the account for ever.
public struct RedisLoginArbiter: LoginArbiter {
    public struct Timing: Sendable, Hashable {
        /// A turn that is not confirmed for so long may be given to another.
        public var lease = Duration.seconds(10)
        /// Whoever waits longer for a turn is refused.
        public var patience = Duration.seconds(15)

        public init() {}
    }

    /// KEYS: the lock. ARGV: the turn, milliseconds.
    private static let take = RedisScript(
        """
        local holder = redis.call('GET', KEYS[1])
        if holder and holder ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return 1
        """)
    private static let confirm = RedisScript(
        """
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        return redis.call('PEXPIRE', KEYS[1], ARGV[2])
        """)
    private static let release = RedisScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")

    /// Requests of this process that wait for another one of the same account.
    private static let waitersMax = 16

    private let client: RedisClient
    private let prefix: String
    private let timing: Timing
    private let makeTurn: @Sendable () -> String
    private let logger: Logger
    /// Those of this process take their turns in order and one of them at a time asks Redis.
    private let locks = KeyedLock<AccountID>(waitersMax: waitersMax)

    /// - Parameters:
    ///   - prefix: of all keys, so that several systems can share a Redis.
    ///   - makeTurn: a name that no other turn ever has.
    public init(
        client: RedisClient, prefix: String = "apus", timing: Timing = Timing(), logger: Logger,
        makeTurn: @escaping @Sendable () -> String = { UUID().uuidString }
    ) {
        self.client = client
        self.prefix = prefix
        self.timing = timing
        self.makeTurn = makeTurn
        self.logger = logger
    }

    public func withTurn<Value: Sendable>(of account: AccountID, _ body: (LoginTurn) async throws -> Value) async throws -> Value {
        try await locks.withLock(account) {
            let key = "\(prefix):login:\(account)"
            let turn = makeTurn()
            try await acquire(key, turn)
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(LoginTurn { try await confirm(key, turn) }))
            } catch {
                result = .failure(error)
            }
            await giveBack(key, turn)
            return try result.get()
        }
    }

    private func acquire(_ key: String, _ turn: String) async throws {
        let deadline = ContinuousClock.now + timing.patience
        while true {
            if try await ask(Self.take, key, turn) { return }
            guard ContinuousClock.now < deadline else {
                throw ApusError(.overloaded, "other logins of this account are under way", retryAfterMilliseconds: 1000)
            }
            // Redis has no queue for this; the jitter keeps two nodes from meeting again and again.
            try await Task.sleep(for: .milliseconds(Int64.random(in: 10...40)))
        }
    }

    private func confirm(_ key: String, _ turn: String) async throws {
        guard try await ask(Self.confirm, key, turn) else {
            throw ApusError(.unavailable, "the login took too long; another one of this account came between")
        }
    }

    private func giveBack(_ key: String, _ turn: String) async {
        do {
            _ = try await ask(Self.release, key, turn)
        } catch {
            logger.warning("a login's turn ends by its time only", metadata: ["key": "\(key)", "error": "\(error)"])
        }
    }

    private func ask(_ script: RedisScript, _ key: String, _ turn: String) async throws -> Bool {
        let arguments = [turn, "\(timing.lease.milliseconds)"]
        return try await client.send(RedisCommand(script, keys: [key], arguments: arguments, isIdempotent: true)).integer == 1
    }
}
#endif
