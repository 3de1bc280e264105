import ApusCore
import ApusProtocol
import Crypto
import Foundation
import Hummingbird

/// What changes conversations. Each change of a group is an entry of its log. With an `Idempotency-Key` a repeated request is the
/// same entry; the same key with another change is a `conflict`.
extension WebRole {
    private static let keyBytesMax = 64

    @Sendable func create(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try context.account()
        let wanted = try await request.json(NewConversationRequest.self, context)
        let others = try ConversationRules.members((wanted.members ?? []).filter { wanted.kind == .direct || $0 != caller })
        let info: ConversationInfo
        switch wanted.kind {
        case .direct: info = try await direct(caller, with: others, wanted)
        case .group: info = try await group(of: caller, with: others, wanted, key: try Self.key(request))
        }
        return try Response.json(info, status: .created, headers: [.location: "\(HTTPPath.conversations)/\(info.id)"])
    }

    @Sendable func rename(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try context.account()
        let conversation: ConversationID = try context.pathID("conversation")
        let title = try ConversationRules.title(try await request.json(ConversationUpdate.self, context).title)
        try await append(
            SystemEvent(event: .renamed, title: title), .rename(title), to: conversation, by: caller, key: try Self.key(request))
        return try Response.json(try await info(conversation, for: caller))
    }

    @Sendable func invite(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try context.account()
        let conversation: ConversationID = try context.pathID("conversation")
        let invited = try ConversationRules.members(try await request.json(InviteRequest.self, context).accounts)
        let key = try Self.key(request)
        // First, so that strangers learn nothing about accounts from this.
        guard try await conversations.visibility(of: caller, in: conversation)?.isMember == true else { throw Self.notMember }
        guard !invited.isEmpty else { throw ApusError(.invalidArgument, "accounts is empty") }
        try await checkExistence(of: invited)
        // Without those who are members already the entry says who really joins. A repeated request finds them all there and
        // is done; a race leaves a name too many in the entry and changes nothing else.
        let present = Set(try await conversations.audience(of: conversation)?.accounts ?? [])
        let joining = invited.filter { !present.contains($0) }
        if !joining.isEmpty {
            try await append(SystemEvent(event: .joined, accounts: joining), .join(joining), to: conversation, by: caller, key: key)
        }
        try await takeOutDeleted(invited, from: conversation)
        return try Response.json(try await info(conversation, for: caller))
    }

    @Sendable func leave(_ request: Request, _ context: APIContext) async throws -> Response {
        let caller = try context.account()
        try await append(
            SystemEvent(event: .left, accounts: [caller]), .leave, to: try context.pathID("conversation"), by: caller,
            key: try Self.key(request))
        return .noContent
    }

    // MARK: Parts

    private func direct(_ caller: AccountID, with others: [AccountID], _ wanted: NewConversationRequest) async throws -> ConversationInfo {
        guard others.count == 1, let peer = others.first, peer != caller else {
            throw ApusError(.invalidArgument, "members of a direct conversation is the one other account")
        }
        guard wanted.title == nil else { throw ApusError(.invalidArgument, "a direct conversation has no title") }
        try await checkExistence(of: [peer])
        let conversation = try await conversations.direct(between: caller, and: peer, proposedID: ids.next(), at: clock.now)
        try await takeOutDeleted([peer], from: conversation.id)
        return try await info(conversation.id, for: caller)
    }

    private func group(
        of caller: AccountID, with others: [AccountID], _ wanted: NewConversationRequest, key: String?
    ) async throws -> ConversationInfo {
        guard let title = wanted.title else { throw ApusError(.invalidArgument, "a group has a title") }
        let checked = try ConversationRules.title(title)
        try await checkExistence(of: others)
        // With a key the id follows from it: a repeated request finds the group that the first one made.
        let id = key.map { Self.groupID(creator: caller, key: $0) } ?? ids.next()
        try await append(
            SystemEvent(event: .created, accounts: others, title: checked), .create(title: checked, members: others), to: id, by: caller,
            key: key)
        try await takeOutDeleted(others, from: id)
        return try await info(id, for: caller)
    }

    private func append(
        _ event: SystemEvent, _ change: ConversationChange, to conversation: ConversationID, by sender: AccountID, key: String?
    ) async throws {
        let encoder = JSONEncoder()
        // The same event is the same body, or a repeated request would be a conflict.
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let body = String(decoding: try encoder.encode(event), as: UTF8.self)
        _ = try await delivery.append(
            EntryDraft(
                conversation: conversation, sender: sender, clientID: Self.clientID(key ?? SecureRandom.token(bytes: 16)), kind: .system,
                body: body, change: change))
    }

    private func checkExistence(of wanted: [AccountID]) async throws {
        guard !wanted.isEmpty else { return }
        let missing = Set(wanted).subtracting(try await accounts.accounts(wanted).map(\.id))
        guard missing.isEmpty else { throw ApusError(.invalidArgument, "there is no account \(missing.sorted()[0])") }
    }

    /// An account may be deleted between the check of its existence and its coming in, and whoever took it out of its conversations may
    /// not have seen this one. After its coming in the deletion shows for certain.
    private func takeOutDeleted(_ accounts: [AccountID], from conversation: ConversationID) async throws {
        guard !accounts.isEmpty else { return }
        let deleted = Set(accounts).subtracting(try await self.accounts.accounts(accounts).map(\.id))
        for account in deleted.sorted() { try await delivery.depart(account, from: conversation) }
    }

    private static func key(_ request: Request) throws -> String? {
        guard let key = request.headers[.idempotencyKey] else { return nil }
        guard (1...keyBytesMax).contains(key.utf8.count) else {
            throw ApusError(.invalidArgument, "Idempotency-Key has 1 to \(keyBytesMax) bytes")
        }
        return key
    }

    /// In the server's own range of client ids, where no client's message can take its place.
    private static func clientID(_ key: String) -> String {
        "apus:" + Base64URL.encode(SHA256.hash(data: Data(key.utf8)).prefix(24))
    }

    /// 62 bits of a hash: it meets the id of another conversation by a chance of one in billions, and is then refused.
    private static func groupID(creator: AccountID, key: String) -> ConversationID {
        let digest = SHA256.hash(data: Data("group/\(creator)/\(key)".utf8))
        return ConversationID(digest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } >> 2)
    }
}
