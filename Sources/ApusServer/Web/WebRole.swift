import ApusCore
import ApusProtocol
import Hummingbird

/// Conversations over HTTP: everything about them that is no real-time matter, and the way to the socket.
public struct WebRole: HTTPRole {
    static let pageMax = 200
    static let pageStandard = 50

    let accounts: any AccountStore
    let conversations: any ConversationStore
    let delivery: Delivery
    let sockets: any SocketDirectory
    let ids: IDGenerator
    let clock: any WallClock

    public init(
        accounts: any AccountStore, conversations: any ConversationStore, delivery: Delivery, sockets: any SocketDirectory,
        ids: IDGenerator, clock: any WallClock
    ) {
        self.accounts = accounts
        self.conversations = conversations
        self.delivery = delivery
        self.sockets = sockets
        self.ids = ids
        self.clock = clock
    }

    public func addRoutes(to routes: HTTPRoutes) {
        let all = HTTPPath.conversations
        let one = all + "/{conversation}"
        routes.on(.post, all, for: .token, use: create)
        routes.on(.get, all, for: .token, use: list)
        routes.on(.get, one, for: .token, use: show)
        routes.on(.patch, one, for: .token, use: rename)
        routes.on(.get, one + "/members", for: .token, use: members)
        routes.on(.post, one + "/members", for: .token, use: invite)
        routes.on(.delete, one + "/members/me", for: .token, use: leave)
        routes.on(.get, one + "/entries", for: .token, use: entries)
        routes.on(.get, HTTPPath.socketNode, for: .token, use: socketNode)
    }

    // MARK: Reading

    @Sendable func list(_ request: Request, _ context: APIContext) async throws -> Response {
        let limit = try request.limit(default: Self.pageStandard, max: Self.pageMax)
        let page = try await conversations.conversations(
            of: try context.account(), after: try request.query("after"), limit: limit)
        return try Response.json(ConversationList(conversations: page, next: page.count == limit ? page.last?.id : nil))
    }

    @Sendable func show(_ request: Request, _ context: APIContext) async throws -> Response {
        try Response.json(try await info(try context.pathID("conversation"), for: try context.account()))
    }

    @Sendable func members(_ request: Request, _ context: APIContext) async throws -> Response {
        let conversation: ConversationID = try context.pathID("conversation")
        let limit = try request.limit(default: Self.pageStandard, max: Self.pageMax)
        guard try await conversations.visibility(of: try context.account(), in: conversation)?.isMember == true else {
            throw Self.notMember
        }
        let page = try await conversations.members(of: conversation, after: try request.query("after"), limit: limit)
        return try Response.json(MemberList(members: page, next: page.count == limit ? page.last?.account : nil))
    }

    /// The page of the socket's `pull`. Where that answers `reset`, `reset` of the page is set and it has no entries.
    @Sendable func entries(_ request: Request, _ context: APIContext) async throws -> Response {
        let conversation: ConversationID = try context.pathID("conversation")
        let from = try request.query("from", as: Seq.self) ?? 1
        // More than a page's size is a page, as for `pull`.
        let limit = try request.query("limit", as: Int.self) ?? Self.pageStandard
        guard limit > 0 else { throw ApusError(.invalidArgument, "limit is 1 or more") }
        let page: EntryPage
        switch try await delivery.page(of: conversation, for: try context.account(), from: from, limit: limit) {
        case .page(let from, let through, let head, let entries):
            page = EntryPage(from: from, through: through, head: head, entries: entries.map(EntryInfo.init))
        case .reset(let first, let head):
            page = EntryPage(from: from, through: from - 1, head: head, entries: [], reset: first)
        }
        return try Response.json(page)
    }

    @Sendable func socketNode(_ request: Request, _ context: APIContext) async throws -> Response {
        let node = try await sockets.socketNode(
            for: try context.account(), requestedHost: request.requestedHost?.name, avoiding: request.query(HTTPPath.avoidedNode))
        return try Response.json(node, headers: [.cacheControl: "no-store"])
    }

    // MARK: Parts

    func info(_ id: ConversationID, for account: AccountID) async throws -> ConversationInfo {
        guard let info = try await conversations.conversation(id, of: account) else { throw Self.notMember }
        return info
    }

    static let notMember = ApusError(.notMember, "you are not a member of this conversation")
}
