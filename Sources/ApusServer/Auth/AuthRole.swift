import ApusCore
import ApusProtocol
import Hummingbird
import Logging

public struct AuthConfiguration: Sendable {
    /// The `iss` of tokens and of the discovery document, like `https://chat.example.com`. Nil: `http://` or `https://`, as the
    /// client came, and the host that it asked.
    public var issuer: String?
    public var accessTokenLifetime: Duration
    /// Of each refresh token; a device that stays away longer logs in again.
    public var refreshTokenLifetime: Duration
    /// For so long after its use a refresh token is answered again, while the token that it was answered with is unused: the answer may
    /// have been lost on its way. Not a setting: longer gives a thief more time, shorter logs people out on bad networks.
    public var refreshGrace: Duration
    public var devicePolicy: DevicePolicy
    public var clients: [OAuthClient]

    public init(
        issuer: String? = nil, accessTokenLifetime: Duration = .seconds(900), refreshTokenLifetime: Duration = .seconds(30 * 86_400),
        refreshGrace: Duration = .seconds(60), devicePolicy: DevicePolicy = .all, clients: [OAuthClient] = []
    ) {
        self.issuer = issuer
        self.accessTokenLifetime = accessTokenLifetime
        self.refreshTokenLifetime = refreshTokenLifetime
        self.refreshGrace = refreshGrace
        self.devicePolicy = devicePolicy
        self.clients = clients
    }
}

/// The authorization centre: accounts, logins, tokens, devices.
public struct AuthRole: HTTPRole {
    /// For logins from here on.
    public let devicePolicy: LiveSetting<DevicePolicy>
    let configuration: AuthConfiguration
    let logins: Logins
    let clients: OAuthClients
    let issuer: TokenIssuer
    let keys: KeyRing
    let verifier: any TokenVerifier
    let devices: any DeviceStore
    let routes: any RouteTable
    let departures: AccountDepartures?

    /// - Parameters:
    ///   - deviceCheck: this process's, so that it learns of revocations at once.
    ///   - departures: this process's, so that it learns of deletions at once. Nil: another process finds them.
    public init(
        configuration: AuthConfiguration, accounts: any AccountStore, devices: any DeviceStore, routes: any RouteTable,
        sessions: any SessionControl, arbiter: any LoginArbiter, hasher: any PasswordHasher, keys: KeyRing, verifier: any TokenVerifier,
        deviceCheck: DeviceCheck? = nil, departures: AccountDepartures? = nil, ids: IDGenerator, clock: any WallClock, logger: Logger
    ) {
        self.departures = departures
        self.configuration = configuration
        self.devices = devices
        self.routes = routes
        self.keys = keys
        self.verifier = verifier
        devicePolicy = LiveSetting(configuration.devicePolicy)
        clients = OAuthClients(configuration.clients)
        issuer = TokenIssuer(keys: keys, clock: clock, lifetime: configuration.accessTokenLifetime)
        logins = Logins(
            accounts: accounts, devices: devices, routes: routes, sessions: sessions, arbiter: arbiter, hasher: hasher,
            deviceCheck: deviceCheck, policy: devicePolicy, refreshTokenLifetime: configuration.refreshTokenLifetime,
            refreshGrace: configuration.refreshGrace, ids: ids, clock: clock,
            logger: logger)
    }

    public func addRoutes(to routes: HTTPRoutes) {
        routes.on(.post, HTTPPath.token, for: .anybody, use: token)
        routes.on(.post, HTTPPath.revoke, for: .anybody, use: revoke)
        routes.on(.get, HTTPPath.authorize, for: .anybody, use: authorize)
        routes.on(.post, HTTPPath.authorize, for: .anybody, use: authorize)
        routes.on(.get, HTTPPath.discovery, for: .anybody, use: metadata)
        routes.on(.get, HTTPPath.jwks, for: .anybody, use: jwks)

        routes.on(.post, HTTPPath.accounts, for: .anybody, use: register)
        routes.on(.post, HTTPPath.password, for: .token, use: changePassword)
        routes.on(.delete, HTTPPath.account, for: .token, use: deleteAccount)
        routes.on(.get, HTTPPath.devices, for: .token, use: listDevices)
        routes.on(.delete, HTTPPath.devices, for: .token, use: endDevices)
        routes.on(.delete, HTTPPath.devices + "/{device}", for: .token, use: endDevice)
    }
}

// MARK: Accounts and devices

extension AuthRole {
    @Sendable func register(_ request: Request, _ context: APIContext) async throws -> Response {
        let account = try await logins.register(try await request.json(RegisterRequest.self, context))
        return try Response.json(account.profile, status: .created, headers: [.location: "\(HTTPPath.accounts)/\(account.id)"])
    }

    @Sendable func changePassword(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try await activeDevice(context)
        let change = try await request.json(PasswordChange.self, context)
        try await logins.changePassword(of: caller.account, device: caller.device, change)
        return .noContent
    }

    @Sendable func deleteAccount(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try await activeDevice(context)
        try await logins.deleteAccount(caller.account, password: try await request.json(AccountDeletion.self, context).password)
        departures?.ring()
        return .noContent
    }

    @Sendable func listDevices(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try await activeDevice(context)
        let connected = Set(try await routes.routes(of: caller.account).map(\.device))
        let list = try await devices.devices(of: caller.account).map { device in
            DeviceInfo(
                id: device.id, name: device.name, platform: device.platform, createdAt: device.createdAt, lastSeenAt: device.lastSeenAt,
                online: connected.contains(device.id), current: device.id == caller.device)
        }
        return try Response.json(DeviceList(devices: list))
    }

    @Sendable func endDevice(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try await activeDevice(context)
        let device: DeviceID = try context.pathID("device")
        guard try await !logins.end([device], of: caller.account).isEmpty else { throw ApusError(.notFound, "there is no such device") }
        return .noContent
    }

    /// `?keep=current` leaves the device that asks.
    @Sendable func endDevices(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try await activeDevice(context)
        let keep = request.query("keep")
        guard keep == nil || keep == "current" else { throw ApusError(.invalidArgument, "keep is current or absent") }
        try await logins.endAll(of: caller.account, but: keep == nil ? nil : caller.device)
        return .noContent
    }

    /// The device that asks, if it is logged in still: what changes logins does not wait for a token to expire.
    private func activeDevice(_ context: APIContext) async throws -> (account: AccountID, device: DeviceID) {
        let caller = try context.device()
        guard try await devices.isActive(caller.device) else { throw ApusError(.unauthenticated, "this device is logged out") }
        return caller
    }
}
