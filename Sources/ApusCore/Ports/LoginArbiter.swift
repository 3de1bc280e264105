import ApusProtocol

/// Decides whose turn it is to change the logins of an account: a login by a device policy, the end of devices, a new password, a
/// deletion. All nodes of the auth role share it, so that of two logins at once that a policy would not have together one wins.
public protocol LoginArbiter: Sendable {
    /// Runs `body` while no other turn of this account runs, on any node.
    ///
    /// A turn that takes too long may be given to the next one; ``LoginTurn/confirm()`` tells. What `body` does then is on top of
    /// what the store itself promises, which holds in any case.
    /// - Throws: ``ApusError`` `overloaded` when too many wait, `unavailable` when the shared state cannot be reached or the turn
    ///   was lost, `CancellationError`, and what `body` throws.
    func withTurn<Value: Sendable>(of account: AccountID, _ body: (LoginTurn) async throws -> Value) async throws -> Value
}

/// A turn of ``LoginArbiter``.
public struct LoginTurn: Sendable {
    private let check: @Sendable () async throws -> Void

    public init(check: @escaping @Sendable () async throws -> Void) { self.check = check }

    /// Makes sure that the turn is still this one's, and begins its time anew. To be called right before what the turn is for.
    /// - Throws: ``ApusError`` `unavailable` when it is not, or nobody knows.
    public func confirm() async throws { try await check() }
}
