/// Turns passwords into what the account store keeps, slowly on purpose.
public protocol PasswordHasher: Sendable {
    /// A string with algorithm, parameters and a fresh salt, for ``verify(_:against:)``.
    /// - Throws: ``ApusError`` `overloaded` when too many wait already.
    func hash(_ password: String) async throws -> String
    /// Whether `hash` was made of `password`. Nil (there is no such account) takes as long as a real hash and is false, so
    /// that nobody learns from the time which accounts exist.
    /// - Throws: ``ApusError`` `overloaded`; `internal` for a hash that is none of ours.
    func verify(_ password: String, against hash: String?) async throws -> Bool
    /// Whether `hash` was made at a lower cost than new ones are. False for a hash that is none of ours.
    func isOutdated(_ hash: String) -> Bool
}
