import ApusProtocol

/// What a valid access token says.
public struct AccessGrant: Sendable, Hashable {
    public enum Subject: Sendable, Hashable {
        case device(AccountID, DeviceID)
        /// A service, by its client-credentials name.
        case client(String)
    }

    public var subject: Subject
    public var scopes: Set<String>
    public var expiresAt: Timestamp

    public init(subject: Subject, scopes: Set<String>, expiresAt: Timestamp) {
        self.subject = subject
        self.scopes = scopes
        self.expiresAt = expiresAt
    }
}

/// Checks access tokens without asking anybody but the published keys.
public protocol TokenVerifier: Sendable {
    /// - Throws: ``ApusError`` `unauthenticated`.
    func verify(accessToken: String) async throws -> AccessGrant
}
