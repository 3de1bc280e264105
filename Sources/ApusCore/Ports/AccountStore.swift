import ApusProtocol

public struct Account: Sendable, Hashable {
    public var id: AccountID
    /// Lower case; unique among accounts.
    public var username: String
    public var displayName: String
    public var avatar: String
    public var bio: String
    /// The output of the password hasher, salt and parameters included.
    public var passwordHash: String
    public var createdAt: Timestamp

    public init(
        id: AccountID, username: String, displayName: String, avatar: String = "", bio: String = "", passwordHash: String,
        createdAt: Timestamp
    ) {
        self.id = id
        self.username = username
        self.displayName = displayName
        self.avatar = avatar
        self.bio = bio
        self.passwordHash = passwordHash
        self.createdAt = createdAt
    }

    public var profile: AccountProfile {
        AccountProfile(id: id, username: username, displayName: displayName, avatar: avatar, bio: bio)
    }
}

/// Accounts, durable. Every call is one transaction; a failure of the store is an ``ApusError`` `store_unavailable`.
public protocol AccountStore: Sendable {
    /// - Throws: ``ApusError`` `conflict` when the username is taken, also by an account deleted since.
    func create(_ account: Account) async throws
    /// Nil for an account that does not exist or was deleted.
    func account(_ id: AccountID) async throws -> Account?
    func account(username: String) async throws -> Account?
    /// In any order; unknown ids are left out; at most 1,000 ids.
    func accounts(_ ids: [AccountID]) async throws -> [Account]
    /// By username, ascending; at most `limit`. `prefix` is matched literally.
    func accounts(usernamePrefix prefix: String, limit: Int) async throws -> [Account]
    /// Replaces display name, avatar and bio, and nothing else. Does nothing for an account that does not exist.
    func update(_ account: Account) async throws
    /// Replaces the password hash if it still is `old`: of two changes at once one wins, and no change of the profile brings an
    /// old password back. Returns whether it did.
    func setPasswordHash(_ hash: String, replacing old: String, of id: AccountID) async throws -> Bool
    /// The account can no longer log in or be found; its username stays taken and its entries stay in the logs.
    func delete(_ id: AccountID, at: Timestamp) async throws
    /// Deleted accounts that may be in conversations still, ascending by id, beginning after `after`; at most `limit`.
    func departing(after: AccountID?, limit: Int) async throws -> [AccountID]
    /// The deleted account has left all of its conversations. Does nothing for one that was not deleted.
    func setDeparted(_ id: AccountID, at: Timestamp) async throws
}
