import ApusProtocol

/// An installation of a client that is logged in. Revoked devices are gone from every answer of the store but `isActive`.
public struct Device: Sendable, Hashable {
    public var id: DeviceID
    public var account: AccountID
    public var name: String
    public var platform: String
    public var createdAt: Timestamp
    public var lastSeenAt: Timestamp

    public init(id: DeviceID, account: AccountID, name: String, platform: String, createdAt: Timestamp, lastSeenAt: Timestamp) {
        self.id = id
        self.account = account
        self.name = name
        self.platform = platform
        self.createdAt = createdAt
        self.lastSeenAt = lastSeenAt
    }
}

/// A refresh token as the store knows it: never the token itself.
public struct RefreshTokenRecord: Sendable, Hashable {
    /// SHA-256 of the token.
    public var hash: [UInt8]
    public var expiresAt: Timestamp

    public init(hash: [UInt8], expiresAt: Timestamp) {
        self.hash = hash
        self.expiresAt = expiresAt
    }
}

public enum RefreshRotation: Sendable, Equatable {
    /// The old token is used up, the new one is stored.
    case rotated(Device)
    /// The old token had been used before: its family may be in the wrong hands. The device is now revoked.
    case reused(Device)
    /// Unknown, expired, or of a revoked device.
    case refused
}

/// Devices and their families of refresh tokens, durable. Every call is one transaction.
public protocol DeviceStore: Sendable {
    func create(_ device: Device, token: RefreshTokenRecord) async throws
    /// By creation, oldest first. At most 1,000.
    func devices(of account: AccountID) async throws -> [Device]
    func isActive(_ id: DeviceID) async throws -> Bool
    /// Uses a refresh token up, exactly once however many ask at the same time. Used tokens are remembered until they expire.
    func rotate(_ old: [UInt8], to new: RefreshTokenRecord, at: Timestamp) async throws -> RefreshRotation
    /// The device that a token, used or not, belongs to; nil when unknown or revoked.
    func device(refreshToken hash: [UInt8]) async throws -> Device?
    /// Ends devices of the account and their tokens; ids of other accounts are left alone. Returns those it ended.
    func revoke(_ ids: [DeviceID], of account: AccountID, at: Timestamp) async throws -> [DeviceID]
}
