import ApusCore
import ApusProtocol
import Hummingbird

/// Profiles, the search for people, and who is online.
public struct UserRole: HTTPRole {
    static let searchMax = 100
    static let searchStandard = 20
    static let idsMax = 200
    static let onlineMax = 1000
    static let onlineStandard = 100

    let accounts: any AccountStore
    let routes: any RouteTable

    public init(accounts: any AccountStore, routes: any RouteTable) {
        self.accounts = accounts
        self.routes = routes
    }

    public func addRoutes(to routes: HTTPRoutes) {
        routes.on(.get, HTTPPath.account, for: .token, use: ownProfile)
        routes.on(.patch, HTTPPath.account, for: .token, use: updateProfile)
        routes.on(.get, HTTPPath.accounts, for: .token, use: find)
        routes.on(.get, HTTPPath.accounts + "/{account}", for: .token, use: profile)
        routes.on(.get, HTTPPath.online, for: .token, use: online)
    }

    @Sendable func ownProfile(_ request: Request, _ context: APIContext) async throws -> Response {
        try Response.json(try await caller(context).profile)
    }

    @Sendable func updateProfile(_ request: Request, _ context: APIContext) async throws -> Response {
        let update = try await request.json(ProfileUpdate.self, context)
        let account = try AccountRules.applying(update, to: try await caller(context))
        try await accounts.update(account)
        return try Response.json(account.profile)
    }

    @Sendable func profile(_ request: Request, _ context: APIContext) async throws -> Response {
        guard let account = try await accounts.account(try context.pathID("account")) else {
            throw ApusError(.notFound, "there is no such account")
        }
        return try Response.json(account.profile)
    }

    /// `?username=` (exact), `?prefix=&limit=` (by username) or `?ids=1,2,3` (those that exist, by id).
    @Sendable func find(_ request: Request, _ context: APIContext) async throws -> Response {
        let found: [Account]
        switch (request.query("username"), request.query("prefix"), request.query("ids")) {
        case (let name?, nil, nil):
            // A name that nobody can have is found as little as one that nobody has.
            let username = try? Username(name)
            let account = if let username { try await accounts.account(username: username.value) } else { Account?.none }
            found = [account].compactMap(\.self)
        case (nil, let prefix?, nil):
            let limit = try request.limit(default: Self.searchStandard, max: Self.searchMax)
            found =
                if let prefix = Username.prefix(prefix) {
                    try await accounts.accounts(usernamePrefix: prefix, limit: limit)
                } else { [] }
        case (nil, nil, let list?):
            found = try await accounts.accounts(try Self.ids(list)).sorted { $0.id < $1.id }
        default:
            throw ApusError(.invalidArgument, "ask by username, by prefix or by ids")
        }
        return try Response.json(AccountList(accounts: found.map(\.profile)))
    }

    /// `?limit=` accounts at most; the count is of all.
    @Sendable func online(_ request: Request, _ context: APIContext) async throws -> Response {
        let limit = try request.limit(default: Self.onlineStandard, max: Self.onlineMax)
        let count = try await routes.onlineCount()
        let found = try await accounts.accounts(try await routes.onlineAccounts(after: nil, limit: limit))
        let profiles = found.sorted { $0.username < $1.username }.map(\.profile)
        return try Response.json(OnlineList(count: count, accounts: profiles))
    }

    private func caller(_ context: APIContext) async throws -> Account {
        guard let account = try await accounts.account(try context.account()) else {
            throw ApusError(.unauthenticated, "this account does not exist any more")
        }
        return account
    }

    private static func ids(_ list: String) throws -> [AccountID] {
        let parts = list.split(separator: ",", maxSplits: idsMax)
        guard parts.count <= idsMax else { throw ApusError(.invalidArgument, "at most \(idsMax) ids at once") }
        return try Set(
            parts.map { text in
                guard let id = AccountID(String(text)) else { throw ApusError(.invalidArgument, "ids is a list of ids") }
                return id
            }
        ).sorted()
    }
}
