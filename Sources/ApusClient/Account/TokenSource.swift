import ApusProtocol
import Foundation

/// Access tokens that the server accepts. A refresh token works once and a later second use of it ends the login, so clients of one directory
/// take turns at refreshing, and look first whether another one has done it.
struct TokenSource: Sendable {
    let store: LoginStore
    let api: APIClient
    let now: @Sendable () -> Date

    init(store: LoginStore, api: APIClient, now: @escaping @Sendable () -> Date = { Date() }) {
        self.store = store
        self.api = api
        self.now = now
    }

    /// - Parameter rejected: a token that the server did not accept; another one is wanted.
    /// - Throws: ``ApusError`` `not_logged_in`; `login_ended` when the server refuses to renew it; those of ``APIClient``.
    func accessToken(rejected: String? = nil) async throws -> String {
        if let token = try usable(rejected) { return token }
        // Not to be cancelled half-way: the server would have used the refresh token up and nobody would have the new one.
        // Bounded by the timeouts of the lock and of the call.
        return try await Task { try await refresh(rejected) }.value
    }

    /// Calls with a token; once more with a new one when the server does not accept it.
    func authorized<T: Sendable>(_ body: @Sendable (String) async throws -> T) async throws -> T {
        let token = try await accessToken()
        do {
            return try await body(token)
        } catch let error as ApusError where error.code == .unauthenticated {
            let renewed = try await accessToken(rejected: token)
            return try await body(renewed)
        }
    }

    func login(username: String, password: String, deviceName: String, platform: String) async throws -> LoginInfo {
        let previous = try? store.load()
        var form = [
            ("grant_type", "password"), ("username", username), ("password", password), ("device_name", deviceName), ("platform", platform),
        ]
        if let previous { form.append(("device", previous.info.device.description)) }
        let response: TokenResponse = try await api.call(.form(HTTPPath.token, form))
        guard let account = response.account, let device = response.device else {
            throw ApusError(.badAnswer, "the server did not say who logged in")
        }
        let info = LoginInfo(account: account, device: device, username: username.lowercased())
        let login = try stored(response, info)
        try await store.withLock(timeout: api.timeout) { try store.save(login) }
        return info
    }

    private func usable(_ rejected: String?) throws -> String? {
        guard let login = try store.load() else { throw ApusError(.notLoggedIn, "nobody is logged in") }
        return login.accessToken != rejected && login.refreshAt > now() ? login.accessToken : nil
    }

    private func refresh(_ rejected: String?) async throws -> String {
        try await store.withLock(timeout: api.timeout * 2) {
            if let token = try usable(rejected) { return token }
            guard let login = try store.load() else { throw ApusError(.notLoggedIn, "nobody is logged in") }
            let response: TokenResponse
            do {
                response = try await api.call(
                    .form(HTTPPath.token, [("grant_type", "refresh_token"), ("refresh_token", login.refreshToken)]))
            } catch let error as ApusError where error.code == .unauthenticated {
                throw ApusError(.loginEnded, "this login has ended; log in again", cause: error)
            }
            try store.save(try stored(response, login.info))
            return response.accessToken
        }
    }

    private func stored(_ response: TokenResponse, _ info: LoginInfo) throws -> StoredLogin {
        guard let refreshToken = response.refreshToken else { throw ApusError(.badAnswer, "the server sent no refresh token") }
        let lifetime = Double(max(0, response.expiresIn))
        return StoredLogin(
            info: info, accessToken: response.accessToken, refreshAt: now().addingTimeInterval(lifetime - min(60, lifetime / 5)),
            refreshToken: refreshToken)
    }
}
