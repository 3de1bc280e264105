import ApusProtocol

/// Turns within one process, in the order of asking. They are never lost.
public struct MemoryLoginArbiter: LoginArbiter {
    /// Requests that wait for another one of the same account.
    private static let waitersMax = 16

    private let locks = KeyedLock<AccountID>(waitersMax: waitersMax)

    public init() {}

    public func withTurn<Value: Sendable>(of account: AccountID, _ body: (LoginTurn) async throws -> Value) async throws -> Value {
        try await locks.withLock(account) { try await body(LoginTurn {}) }
    }
}
