import ApusProtocol

/// Tells a client where its socket node is.
public protocol SocketDirectory: Sendable {
    /// - Parameter requestedHost: the name or address (without port) under which the client reached the HTTP API.
    /// - Throws: ``ApusError`` `overloaded` when no node takes connections now.
    func socketNode(for account: AccountID, requestedHost: String?) async throws -> SocketNode
}
