/// `POST /v1/accounts`
public struct RegisterRequest: Codable, Sendable {
    /// 3 to 32 of `a-z 0-9 . _ -`, begins with a letter or digit; upper case is folded.
    public var username: String
    /// 8 to 1,024 bytes.
    public var password: String
    public var displayName: String?

    public init(username: String, password: String, displayName: String? = nil) {
        self.username = username
        self.password = password
        self.displayName = displayName
    }

    enum CodingKeys: String, CodingKey {
        case username, password
        case displayName = "display_name"
    }
}

/// What others see of an account; `GET /v1/accounts/{id}`, `GET /v1/accounts?username=`, `GET /v1/accounts?prefix=`.
public struct AccountProfile: Codable, Hashable, Sendable {
    public var id: AccountID
    public var username: String
    public var displayName: String
    public var avatar: String
    public var bio: String

    public init(id: AccountID, username: String, displayName: String, avatar: String = "", bio: String = "") {
        self.id = id
        self.username = username
        self.displayName = displayName
        self.avatar = avatar
        self.bio = bio
    }

    enum CodingKeys: String, CodingKey {
        case id, username, avatar, bio
        case displayName = "display_name"
    }
}

public struct AccountList: Codable, Sendable {
    public var accounts: [AccountProfile]
    public init(accounts: [AccountProfile]) { self.accounts = accounts }
}

/// `PATCH /v1/account`: what is absent stays.
public struct ProfileUpdate: Codable, Sendable {
    public var displayName: String?
    public var avatar: String?
    public var bio: String?

    public init(displayName: String? = nil, avatar: String? = nil, bio: String? = nil) {
        self.displayName = displayName
        self.avatar = avatar
        self.bio = bio
    }

    enum CodingKeys: String, CodingKey {
        case avatar, bio
        case displayName = "display_name"
    }
}

/// `POST /v1/account/password`. Ends every other device's login.
public struct PasswordChange: Codable, Sendable {
    public var current: String
    public var new: String

    public init(current: String, new: String) {
        self.current = current
        self.new = new
    }
}

/// `DELETE /v1/account`
public struct AccountDeletion: Codable, Sendable {
    public var password: String
    public init(password: String) { self.password = password }
}

/// `GET /v1/devices`
public struct DeviceInfo: Codable, Hashable, Sendable {
    public var id: DeviceID
    public var name: String
    /// `ios`, `macos`, `linux`, `web`, `terminal` … : what policy `one-per-platform` compares.
    public var platform: String
    public var createdAt: Timestamp
    public var lastSeenAt: Timestamp
    public var online: Bool
    /// Whether this is the device that asks.
    public var current: Bool

    public init(
        id: DeviceID, name: String, platform: String, createdAt: Timestamp, lastSeenAt: Timestamp, online: Bool, current: Bool
    ) {
        self.id = id
        self.name = name
        self.platform = platform
        self.createdAt = createdAt
        self.lastSeenAt = lastSeenAt
        self.online = online
        self.current = current
    }

    enum CodingKeys: String, CodingKey {
        case id, name, platform, online, current
        case createdAt = "created_at"
        case lastSeenAt = "last_seen_at"
    }
}

public struct DeviceList: Codable, Sendable {
    public var devices: [DeviceInfo]
    public init(devices: [DeviceInfo]) { self.devices = devices }
}

/// `GET /v1/online`
public struct OnlineList: Codable, Sendable {
    public var count: Int
    /// Some of them, by username.
    public var accounts: [AccountProfile]

    public init(count: Int, accounts: [AccountProfile]) {
        self.count = count
        self.accounts = accounts
    }
}

/// `POST /oauth/token`: RFC 6749 section 5.1, plus the ids that a client wants next.
public struct TokenResponse: Codable, Sendable {
    public var accessToken: String
    public var tokenType: String
    /// Seconds.
    public var expiresIn: Int
    public var refreshToken: String?
    public var scope: String?
    public var account: AccountID?
    public var device: DeviceID?

    public init(
        accessToken: String, tokenType: String = "Bearer", expiresIn: Int, refreshToken: String? = nil, scope: String? = nil,
        account: AccountID? = nil, device: DeviceID? = nil
    ) {
        self.accessToken = accessToken
        self.tokenType = tokenType
        self.expiresIn = expiresIn
        self.refreshToken = refreshToken
        self.scope = scope
        self.account = account
        self.device = device
    }

    enum CodingKeys: String, CodingKey {
        case scope, account, device
        case accessToken = "access_token"
        case tokenType = "token_type"
        case expiresIn = "expires_in"
        case refreshToken = "refresh_token"
    }
}

/// RFC 6749 section 5.2.
public struct OAuthErrorResponse: Codable, Sendable {
    public var error: String
    public var errorDescription: String
    /// The code of the rest of the API, where it says more than `error`: `login_refused`, `overloaded` …
    public var code: ErrorCode?

    public init(error: String, errorDescription: String, code: ErrorCode? = nil) {
        self.error = error
        self.errorDescription = errorDescription
        self.code = code
    }

    enum CodingKeys: String, CodingKey {
        case error, code
        case errorDescription = "error_description"
    }
}

/// A problem document of RFC 9457 (`application/problem+json`) with the code of ``ErrorCode``.
public struct Problem: Codable, Sendable {
    public var type: String
    public var title: String
    public var status: Int
    public var detail: String
    public var code: ErrorCode
    public var retryable: Bool

    public init(title: String, status: Int, detail: String, code: ErrorCode) {
        self.type = "about:blank"
        self.title = title
        self.status = status
        self.detail = detail
        self.code = code
        self.retryable = code.isRetryable
    }
}
