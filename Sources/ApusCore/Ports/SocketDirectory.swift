import ApusProtocol

/// Tells a client where its socket node is.
public protocol SocketDirectory: Sendable {
    /// - Parameters:
    ///   - requestedHost: the name or address (without port) under which the client reached the HTTP API.
    ///   - avoided: the `url` of a node that the client cannot reach: a dead node is known for some more seconds. It is given out only
    ///     when there is no other.
    /// - Throws: ``ApusError`` `overloaded` when no node takes connections now.
    func socketNode(for account: AccountID, requestedHost: String?, avoiding avoided: String?) async throws -> SocketNode
}
