import ApusProtocol
import Foundation

// MARK: Who this is

extension Client {
    /// Makes an account. Does not log in.
    @discardableResult
    public func register(username: String, password: String, displayName: String? = nil) async throws -> AccountProfile {
        let request = RegisterRequest(username: username, password: password, displayName: displayName)
        return try await api.call(.json(.POST, HTTPPath.accounts, request))
    }

    /// Disconnects, logs in and stores the tokens. A login as another account than before removes the local entries and the outbox.
    @discardableResult
    public func login(username: String, password: String) async throws -> LoginInfo {
        try checkOpen()
        let info = try await tokens.login(
            username: username, password: password, deviceName: configuration.deviceName, platform: configuration.platform)
        await disconnect()
        if try await store.claim(for: info.account) {
            outbox = Outbox()
            failOutcomes(ApusError(.notLoggedIn, "another account logged in"))
            knownAccounts = [:]
            marks = OutgoingMarks(deliveredInterval: configuration.deliveredMarkInterval)
            isPrepared = false
        }
        login = info
        return info
    }

    /// Disconnects, ends the login on the server and forgets the tokens. Local entries stay until another account logs in.
    /// - Throws: when the server cannot be told; the tokens are forgotten all the same.
    public func logout() async throws {
        try checkOpen()
        guard let stored = try logins.load() else { throw ApusError(.notLoggedIn, "nobody is logged in") }
        await disconnect()
        loggedOut(.requested)
        try await api.call(.form(HTTPPath.revoke, [("token", stored.refreshToken), ("token_type_hint", "refresh_token")]))
    }

    /// Who is logged in here; nil: nobody.
    public func currentLogin() throws -> LoginInfo? { try logins.load()?.info }

    /// A token for HTTP calls of the application's own, refreshed when it is about to expire.
    public func accessToken() async throws -> String { try await tokens.accessToken() }

    /// The login is void, here and now.
    func loggedOut(_ reason: LogoutReason) {
        guard login != nil || reason == .notLoggedIn else { return }
        do {
            // Another client of the directory may have logged in again meanwhile; that login stays.
            if let stored = try logins.load(), stored.info.device == login?.device { try logins.save(nil) }
        } catch {
            configuration.logger.error("the stored login was not removed", metadata: ["error": "\(error)"])
        }
        login = nil
        failOutcomes(ApusError(.notLoggedIn, "the login ended"))
        hub.emit(.loggedOut(reason))
    }

    // MARK: This account

    public func profile() async throws -> AccountProfile { try await call(.get(HTTPPath.account)) }

    @discardableResult
    public func updateProfile(_ update: ProfileUpdate) async throws -> AccountProfile {
        try await call(.json(.PATCH, HTTPPath.account, update))
    }

    /// Ends every other device's login.
    public func changePassword(current: String, new: String) async throws {
        try await perform(.json(.POST, HTTPPath.password, PasswordChange(current: current, new: new)))
    }

    public func devices() async throws -> [DeviceInfo] {
        try await call(.get(HTTPPath.devices), as: DeviceList.self).devices
    }

    /// Ends that device's login and closes its connections.
    public func revokeDevice(_ id: DeviceID) async throws {
        try await perform(APIClient.Request(method: .DELETE, path: "\(HTTPPath.devices)/\(id)"))
    }
}

// MARK: People

extension Client {
    private static var knownAccountsMax: Int { 1_000 }
    private static var knownFor: Duration { .seconds(600) }

    /// From a cache when this client has seen the account in the last ten minutes.
    public func account(_ id: AccountID) async throws -> AccountProfile {
        if let known = knownAccounts[id], known.at + Self.knownFor > now { return known.profile }
        return remember(try await call(.get("\(HTTPPath.accounts)/\(id)")))
    }

    /// - Throws: ``ApusError`` `not_found`.
    public func account(username: String) async throws -> AccountProfile {
        guard let found = try await call(.get(HTTPPath.accounts, [("username", username)]), as: AccountList.self).accounts.first else {
            throw ApusError(.notFound, "there is no account \(username)")
        }
        return remember(found)
    }

    /// Accounts whose username begins with `prefix`, by username.
    public func searchAccounts(prefix: String, limit: Int = 20) async throws -> [AccountProfile] {
        let found: AccountList = try await call(.get(HTTPPath.accounts, [("prefix", prefix), ("limit", "\(limit)")]))
        return found.accounts.map(remember)
    }

    /// Who is connected now: how many, and some of them.
    public func online() async throws -> OnlineList { try await call(.get(HTTPPath.online)) }

    private func remember(_ profile: AccountProfile) -> AccountProfile {
        if knownAccounts.count >= Self.knownAccountsMax { knownAccounts = [:] }
        knownAccounts[profile.id] = (profile, now)
        return profile
    }
}
