import ApusCore
import ApusProtocol
import Crypto
import Foundation
import Logging

/// Accounts and their devices: who is let in, what ends a login. No HTTP here.
struct Logins: Sendable {
    struct Request: Sendable {
        var username: String
        var password: String
        var deviceName: String
        var platform: String
        /// A device of the account that logs in again: the new login takes its place.
        var replaces: DeviceID?
    }

    /// A login that was granted or renewed.
    struct Granted: Sendable {
        var device: Device
        var refreshToken: String
    }

    private static let refreshTokenBytes = 32

    let accounts: any AccountStore
    let devices: any DeviceStore
    let routes: any RouteTable
    let sessions: any SessionControl
    /// Decisions about one account's devices are made one at a time, so that two logins at once do not both win.
    let arbiter: any LoginArbiter
    let hasher: any PasswordHasher
    let deviceCheck: DeviceCheck?
    let policy: LiveSetting<DevicePolicy>
    let refreshTokenLifetime: Duration
    let refreshGrace: Duration
    let ids: IDGenerator
    let clock: any WallClock
    let logger: Logger

    // MARK: Coming

    /// - Throws: ``ApusError`` `invalid_argument`, `conflict`, `overloaded`, `store_unavailable`.
    func register(_ request: RegisterRequest) async throws -> Account {
        let username = try Username(request.username)
        try AccountRules.check(password: request.password)
        let displayName = try AccountRules.displayName(request.displayName ?? username.value)
        let account = Account(
            id: ids.next(), username: username.value, displayName: displayName, passwordHash: try await hasher.hash(request.password),
            createdAt: clock.now)
        try await accounts.create(account)
        return account
    }

    /// - Throws: ``ApusError`` `unauthenticated` for a wrong name or password, `login_refused` by the device policy,
    ///   `invalid_argument`, `overloaded`, `unavailable`, `store_unavailable`.
    func login(_ request: Request) async throws -> Granted {
        let name = try AccountRules.deviceName(request.deviceName)
        let platform = try AccountRules.platform(request.platform)
        let known = try await account(named: request.username)
        guard try await matches(request.password, known), let known else { throw Self.wrongCredentials }
        let granted = try await arbiter.withTurn(of: known.id) { turn in
            // The password may have been changed, or the account deleted, while this login waited.
            guard try await present(known, password: request.password) != nil else { throw Self.wrongCredentials }
            let present = try await devices.devices(of: known.id)
            let connected = Set(try await routes.routes(of: known.id).map(\.device))
            let login = DevicePolicy.Login(platform: platform, replaces: request.replaces)
            guard case .accept(let ending) = policy.value.decide(login, devices: present, connected: connected) else {
                throw ApusError(.loginRefused, "another device of this account is connected")
            }
            let now = clock.now
            let device = Device(id: ids.next(), account: known.id, name: name, platform: platform, createdAt: now, lastSeenAt: now)
            let token = newRefreshToken()
            try await turn.confirm()
            try await devices.create(device, token: token.record)
            try await end(ending, of: known.id)
            return Granted(device: device, refreshToken: token.text)
        }
        await upgradeHash(of: known, password: request.password)
        return granted
    }

    /// Uses a refresh token up for a new one. A second use ends the device, unless the first answer may have been lost.
    /// - Throws: ``ApusError`` `unauthenticated`, `store_unavailable`.
    func refresh(_ refreshToken: String) async throws -> Granted {
        let token = newRefreshToken()
        switch try await devices.rotate(Self.hash(refreshToken), to: token.record, at: clock.now, grace: refreshGrace) {
        case .rotated(let device):
            // A crash in the middle of a deletion leaves devices behind.
            guard try await accounts.account(device.account) != nil else {
                try await end([device.id], of: device.account)
                throw Self.refreshRefused
            }
            return Granted(device: device, refreshToken: token.text)
        case .reused(let device):
            logger.notice(
                "a refresh token was used twice; its device is revoked",
                metadata: ["account": "\(device.account)", "device": "\(device.id)"])
            await close([device.id], of: device.account)
            throw Self.refreshRefused
        case .refused:
            throw Self.refreshRefused
        }
    }

    // MARK: Going

    /// The device that a refresh token belongs to.
    func device(refreshToken: String) async throws -> Device? {
        try await devices.device(refreshToken: Self.hash(refreshToken))
    }

    /// Ends devices and their sessions; returns those that were there to end.
    @discardableResult
    func end(_ ids: [DeviceID], of account: AccountID) async throws -> [DeviceID] {
        guard !ids.isEmpty else { return [] }
        let ended = try await devices.revoke(ids, of: account, at: clock.now)
        await close(ended, of: account)
        return ended
    }

    /// Ends all devices of the account but `kept`.
    func endAll(of account: AccountID, but kept: DeviceID?) async throws {
        try await arbiter.withTurn(of: account) { _ in
            try await endOthers(of: account, but: kept)
        }
    }

    /// - Throws: ``ApusError`` `forbidden` for a wrong password, `invalid_argument`, `overloaded`, `store_unavailable`.
    func changePassword(of id: AccountID, device: DeviceID, _ change: PasswordChange) async throws {
        try AccountRules.check(password: change.new)
        let known = try await confirmed(id, password: change.current)
        let hash = try await hasher.hash(change.new)
        try await arbiter.withTurn(of: id) { _ in
            guard let present = try await present(known, password: change.current),
                try await accounts.setPasswordHash(hash, replacing: present.passwordHash, of: id)
            else { throw Self.wrongPassword }
            try await endOthers(of: id, but: device)
        }
    }

    /// - Throws: ``ApusError`` `forbidden` for a wrong password, `overloaded`, `store_unavailable`.
    func deleteAccount(_ id: AccountID, password: String) async throws {
        let known = try await confirmed(id, password: password)
        try await arbiter.withTurn(of: id) { _ in
            guard try await present(known, password: password) != nil else { throw Self.wrongPassword }
            // First, so that nothing can bring a device back.
            try await accounts.delete(id, at: clock.now)
            try await endOthers(of: id, but: nil)
        }
    }

    // MARK: Parts

    private func account(named text: String) async throws -> Account? {
        // A name that nobody can have is a wrong name, not a bad request: it must not look different.
        guard let username = try? Username(text) else { return nil }
        return try await accounts.account(username: username.value)
    }

    private func matches(_ password: String, _ account: Account?) async throws -> Bool {
        guard password.utf8.count <= AccountRules.passwordBytes.upperBound else { return false }
        return try await hasher.verify(password, against: account?.passwordHash)
    }

    /// The account as it is now, if the password that matched `known` still is its password: a login elsewhere may have upgraded the hash.
    private func present(_ known: Account, password: String) async throws -> Account? {
        guard let present = try await accounts.account(known.id) else { return nil }
        if present.passwordHash == known.passwordHash { return present }
        return try await matches(password, present) ? present : nil
    }

    /// Hashes the password again at today's cost, where the stored hash is of a cheaper time: only now the password is at hand.
    private func upgradeHash(of known: Account, password: String) async {
        guard hasher.isOutdated(known.passwordHash) else { return }
        do {
            // Nothing to do when it was changed meanwhile: what changed it hashed at today's cost.
            _ = try await accounts.setPasswordHash(hasher.hash(password), replacing: known.passwordHash, of: known.id)
        } catch {
            // The login stands; the next one tries again.
            logger.notice("a password hash was not upgraded", metadata: ["account": "\(known.id)", "error": "\(error)"])
        }
    }

    private func confirmed(_ id: AccountID, password: String) async throws -> Account {
        guard let account = try await accounts.account(id) else {
            throw ApusError(.unauthenticated, "this account does not exist any more")
        }
        guard try await matches(password, account) else { throw Self.wrongPassword }
        return account
    }

    private func endOthers(of account: AccountID, but kept: DeviceID?) async throws {
        try await end(try await devices.devices(of: account).map(\.id).filter { $0 != kept }, of: account)
    }

    /// Closes what is connected. The devices are revoked whatever becomes of this.
    private func close(_ devices: [DeviceID], of account: AccountID) async {
        guard !devices.isEmpty else { return }
        deviceCheck?.revoked(devices)
        do {
            try await sessions.closeSessions(of: devices, account: account, code: .deviceRevoked)
        } catch {
            logger.error(
                "cannot close the sessions of revoked devices",
                metadata: ["account": "\(account)", "devices": "\(devices)", "error": "\(error)"])
        }
    }

    private func newRefreshToken() -> (text: String, record: RefreshTokenRecord) {
        let text = SecureRandom.token(bytes: Self.refreshTokenBytes)
        return (text, RefreshTokenRecord(hash: Self.hash(text), expiresAt: clock.now + refreshTokenLifetime))
    }

    private static func hash(_ refreshToken: String) -> [UInt8] { Array(SHA256.hash(data: Data(refreshToken.utf8))) }

    private static let wrongCredentials = ApusError(.unauthenticated, "wrong username or password")
    private static let wrongPassword = ApusError(.forbidden, "the password is wrong")
    private static let refreshRefused = ApusError(.unauthenticated, "the refresh token is not valid")
}
