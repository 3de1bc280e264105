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
    /// The old token is used up, the new one is stored. Also the answer to a second use within the grace: see ``DeviceStore/rotate``.
    case rotated(Device)
    /// The old token had been used before, or was withdrawn: its family may be in the wrong hands. The device is now revoked.
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
    /// Uses a refresh token up for its successor. Used tokens are remembered until they expire.
    ///
    /// A second use of a token revokes the device, with one exception: while its successor has never been used, and for `grace` from
    /// the first use, the answer to the first use may just have been lost. The successor is then withdrawn and `new` takes its place.
    /// A withdrawn token counts as used, so that theft still shows (RFC 9700 section 4.14.2): of a thief and the owner, who both hold a
    /// token of the family, one sooner or later presents a token that is used up. The grace does not begin anew with a second use.
    func rotate(_ old: [UInt8], to new: RefreshTokenRecord, at: Timestamp, grace: Duration) async throws -> RefreshRotation
    /// The device that a token, used or not, belongs to; nil when unknown or revoked.
    func device(refreshToken hash: [UInt8]) async throws -> Device?
    /// Ends devices of the account and their tokens; ids of other accounts are left alone. Returns those it ended.
    func revoke(_ ids: [DeviceID], of account: AccountID, at: Timestamp) async throws -> [DeviceID]
}
