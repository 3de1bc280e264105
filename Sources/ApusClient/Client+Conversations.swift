import ApusProtocol
import Foundation

// MARK: Conversations

extension Client {
    /// Pages of a list that are asked for at most; more than this many and something is wrong.
    private static var pagesMax: Int { 1_000 }
    private static var pageLimit: Int { 200 }

    /// The one direct conversation with that account, made if there is none yet.
    public func directConversation(with username: String) async throws -> ConversationInfo {
        let peer = try await account(username: username)
        let request = NewConversationRequest(kind: .direct, members: [peer.id])
        return try await saved(call(.json(.POST, HTTPPath.conversations, request, idempotencyKey: UUID().uuidString)))
    }

    /// - Parameter members: the others; this account is the owner.
    public func createGroup(title: String, members: [AccountID]) async throws -> ConversationInfo {
        let request = NewConversationRequest(kind: .group, title: title, members: members)
        return try await saved(call(.json(.POST, HTTPPath.conversations, request, idempotencyKey: UUID().uuidString)))
    }

    public func invite(_ accounts: [AccountID], to conversation: ConversationID) async throws {
        try await perform(
            .json(.POST, path(conversation) + "/members", InviteRequest(accounts: accounts), idempotencyKey: UUID().uuidString))
    }

    public func leave(_ conversation: ConversationID) async throws {
        try await perform(
            APIClient.Request(method: .DELETE, path: path(conversation) + "/members/me", idempotencyKey: UUID().uuidString))
    }

    public func rename(_ conversation: ConversationID, title: String) async throws {
        try await perform(.json(.PATCH, path(conversation), ConversationUpdate(title: title), idempotencyKey: UUID().uuidString))
    }

    /// All of them, from the server, by id.
    public func conversations() async throws -> [ConversationInfo] {
        var all: [ConversationInfo] = []
        var after: ConversationID?
        for _ in 0..<Self.pagesMax {
            let page: ConversationList = try await call(.get(HTTPPath.conversations, page(after: after)))
            try await store.save(page.conversations)
            all += page.conversations
            guard let next = page.next else { return all }
            after = next
        }
        throw ApusError(.badAnswer, "the server's list of conversations does not end")
    }

    public func conversation(_ id: ConversationID) async throws -> ConversationInfo {
        try await saved(call(.get(path(id))))
    }

    /// All of them, by account.
    public func members(of conversation: ConversationID) async throws -> [MemberInfo] {
        var all: [MemberInfo] = []
        var after: AccountID?
        for _ in 0..<Self.pagesMax {
            let page: MemberList = try await call(.get(path(conversation) + "/members", page(after: after)))
            all += page.members
            guard let next = page.next else { return all }
            after = next
        }
        throw ApusError(.badAnswer, "the server's list of members does not end")
    }

    private func saved(_ info: ConversationInfo) async throws -> ConversationInfo {
        try await store.save([info])
        return info
    }

    private func path(_ conversation: ConversationID) -> String { "\(HTTPPath.conversations)/\(conversation)" }

    private func page<Tag>(after: Identifier<Tag>?) -> [(String, String)] {
        [("limit", "\(Self.pageLimit)")] + (after.map { [("after", "\($0)")] } ?? [])
    }

    // MARK: Calls with a token

    func call<Answer: Decodable & Sendable>(_ request: APIClient.Request, as type: Answer.Type = Answer.self) async throws -> Answer {
        try await noticingEnd { [tokens, api] in
            try await tokens.authorized { token in try await api.call(request, token: token) }
        }
    }

    func perform(_ request: APIClient.Request) async throws {
        try await noticingEnd { [tokens, api] in
            try await tokens.authorized { token in try await api.call(request, token: token) }
        }
    }

    private func noticingEnd<T: Sendable>(_ body: @Sendable () async throws -> T) async throws -> T {
        try checkOpen()
        do {
            return try await body()
        } catch let error as ApusError where error.code == .loginEnded {
            apply(machine.loginVoid(.tokenRefused))
            throw error
        }
    }
}
