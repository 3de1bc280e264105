import ApusCore
import ApusProtocol

/// The promises of ``ConversationStore`` and of what entries do to conversations.
public enum MembershipConformance {
    public static let cases: [ConformanceCase<StoreSet>] = [
        .init("two accounts have one direct conversation, whoever asks first and however many at once", direct),
        .init("nobody joins, leaves or renames a direct conversation", directIsFixed),
        .init("a deleted account leaves a direct conversation, and what was said stays with the other", directDeparture),
        .init("a deleted account leaves a direct conversation in which nothing was said", silentDeparture),
        .init("a deleted account leaves a group as anybody does", groupDeparture),
        .init("a group has its creator as owner and its members from seq 1", creation),
        .init("a conversation is created once", creationConflict),
        .init("who joins, leaves and comes back sees exactly the entries in between", visibility),
        .init("who is a member already stays as he is", joinTwice),
        .init("when the owner leaves the longest-standing member becomes owner", succession),
        .init("an entry goes to those who may see it", audiences),
        .init("a new title is in the log and in the conversation", rename),
        .init("lists of conversations and of members come in pages", pages),
        .init("marks only grow, and only members have them", marks),
    ]

    private static func direct(_ stores: StoreSet) async throws {
        let store = stores.conversations
        let made = try await withThrowingTaskGroup(of: ConversationID.self) { group in
            for id in 1...6 as ClosedRange<UInt64> {
                group.addTask {
                    let (first, second) = id % 2 == 0 ? (AccountID(1), AccountID(2)) : (AccountID(2), AccountID(1))
                    return try await store.direct(between: first, and: second, proposedID: ConversationID(id), at: time(1)).id
                }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        let id = try require(made.first, "a conversation")
        try expectEqual(made.count, 1, "conversations made")
        let other = try await store.direct(between: AccountID(1), and: AccountID(3), proposedID: ConversationID(50), at: time(2))
        try expectEqual(other, Conversation(id: ConversationID(50), kind: .direct, title: "", createdAt: time(2)), "another pair")
        try expectEqual(
            try await store.conversation(id, of: AccountID(1)),
            ConversationInfo(id: id, kind: .direct, title: "", peer: AccountID(2), memberCount: 2, head: 0, read: 0), "as one sees it")
        try expectEqual(try await store.conversation(id, of: AccountID(3)), nil, "as a stranger sees it")
        try expectEqual(try await store.visibility(of: AccountID(2), in: id), Visibility(ranges: [1 ... .max]), "what the other sees")
        try expectEqual(Set(try require(try await store.audience(of: id), "audience").accounts), Set(ids(1, 2)), "audience")
    }

    private static func directIsFixed(_ stores: StoreSet) async throws {
        let direct = try await stores.conversations.direct(
            between: AccountID(1), and: AccountID(2), proposedID: ConversationID(5), at: time(1))
        let room = try await Room(stores, members: [1])
        let changes: [ConversationChange] = [.leave, .rename("x"), .join(ids(3))]
        for (index, change) in changes.enumerated() {
            var entry = room.entry(1, "c\(index)", change: change)
            entry.conversation = direct.id
            try expectEqual(try await room.append(entry).refusal, .changeRefused, "\(change)")
        }
        var entry = room.entry(2, "hello")
        entry.conversation = direct.id
        try expectEqual(try await room.append(entry).seq, 1, "a message")
        try expectEqual(try await stores.conversations.conversation(direct.id, of: AccountID(1))?.head, 1, "the head")
    }

    private static func directDeparture(_ stores: StoreSet) async throws {
        let direct = try await stores.conversations.direct(
            between: AccountID(1), and: AccountID(2), proposedID: ConversationID(5), at: time(1))
        let room = Room(existing: direct.id, stores)
        let first = try await room.send(1, "first")
        let departure = try await room.append(room.entry(2, "gone", change: .accountDeleted))
        try expectEqual(departure.seq, 2, "the departure")
        try expectEqual(departure.audience, Set(ids(1, 2)), "who sees it")
        try expectEqual(try await room.append(room.entry(1, "late")).refusal, .peerDeleted, "a message to the deleted account")
        try expectEqual(try await room.append(room.entry(1, "bye", change: .leave)).refusal, .peerDeleted, "leaving it")
        try expectEqual(try await room.append(room.entry(2, "late")).refusal, .notMember, "a message of the deleted account")
        guard case .duplicate(first, _) = try await room.append(room.entry(1, "first")) else {
            throw ConformanceFailure("what was said before is no duplicate", #fileID, #line)
        }
        guard case .duplicate = try await room.append(room.entry(2, "gone", change: .accountDeleted)) else {
            throw ConformanceFailure("the departure is no duplicate", #fileID, #line)
        }
        try expectEqual(try await room.entries().map(\.seq), [1, 2], "the history")
        let store = stores.conversations
        try expectEqual(
            try await store.conversation(direct.id, of: AccountID(1)),
            ConversationInfo(id: direct.id, kind: .direct, title: "", peer: AccountID(2), memberCount: 1, head: 2, read: 0),
            "as one sees it")
        try expectEqual(try await store.visibility(of: AccountID(1), in: direct.id)?.isMember, true, "the other is a member")
        try expectEqual(try await store.conversations(of: AccountID(2), after: nil, limit: 9), [], "of the deleted account")
        try expectEqual(
            try await store.direct(between: AccountID(2), and: AccountID(1), proposedID: ConversationID(6), at: time(2)).id, direct.id,
            "asked for again")
        try expectEqual(try await room.append(room.entry(1, "too", change: .accountDeleted)).seq, 3, "the other account is deleted too")
    }

    private static func silentDeparture(_ stores: StoreSet) async throws {
        let direct = try await stores.conversations.direct(
            between: AccountID(1), and: AccountID(2), proposedID: ConversationID(5), at: time(1))
        let room = Room(existing: direct.id, stores)
        try expectEqual(try await room.append(room.entry(2, "gone", change: .accountDeleted)).seq, 1, "the departure")
        try expectEqual(try await room.append(room.entry(1, "late")).refusal, .peerDeleted, "a message to the deleted account")
        try expectEqual(try await stores.conversations.conversation(direct.id, of: AccountID(1))?.head, 1, "the head")
    }

    private static func groupDeparture(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [5, 7, 9])
        try expectEqual(try await room.append(room.entry(5, "gone", change: .accountDeleted)).audience, Set(ids(5, 7, 9)), "who sees it")
        let members = try await stores.conversations.members(of: room.id, after: nil, limit: 10)
        try expectEqual(members.map { "\($0.account) \($0.role)" }, ["7 owner", "9 member"], "who is left")
        try expectEqual(try await room.append(room.entry(7, "on")).seq, 3, "a message afterwards")
        try await room.send(9, "gone too", change: .accountDeleted)
        try expectEqual(try await room.append(room.entry(7, "alone")).seq, 5, "a message of the last member")
    }

    private static func creation(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2, 3, 2, 1], title: "Mauersegler")
        let store = stores.conversations
        try expectEqual(
            try await store.conversation(room.id), Conversation(id: room.id, kind: .group, title: "Mauersegler", createdAt: time(5)), "it")
        let members = try await store.members(of: room.id, after: nil, limit: 10)
        try expectEqual(
            members,
            [
                MemberInfo(account: AccountID(1), role: .owner, joined: 1, read: 0, delivered: 0),
                MemberInfo(account: AccountID(2), role: .member, joined: 1, read: 0, delivered: 0),
                MemberInfo(account: AccountID(3), role: .member, joined: 1, read: 0, delivered: 0),
            ], "members")
        try expectEqual(
            try await store.conversation(room.id, of: AccountID(3)),
            ConversationInfo(id: room.id, kind: .group, title: "Mauersegler", peer: nil, memberCount: 3, head: 1, read: 0), "as one sees it"
        )
        try expectEqual(try await store.audience(of: ConversationID(404))?.accounts, nil, "the audience of no conversation")
        try expectEqual(try await store.conversation(ConversationID(404)), nil, "no conversation")
    }

    private static func creationConflict(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let again = room.entry(1, "again", change: .create(title: "other", members: []))
        try expectEqual(try await room.append(again).refusal, .conflict, "a second creation by its creator")
        var stranger = again
        stranger.sender = AccountID(9)
        let refusal = try await room.append(stranger).refusal
        try expect(refusal == .conflict || refusal == .notMember, "a second creation by a stranger: \(String(describing: refusal))")
        try expectEqual(try await stores.conversations.conversation(room.id)?.title, "room", "the title")
    }

    private static func visibility(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let store = stores.conversations
        try await room.send(1, "c2")
        try await room.send(1, "join3", change: .join([AccountID(3)]))
        try await room.send(3, "c4")
        try await room.send(3, "leave5", change: .leave)
        try await room.send(1, "c6")
        try expectEqual(try await store.visibility(of: AccountID(3), in: room.id), Visibility(ranges: [3...5]), "after leaving")
        try expectEqual(try await store.conversation(room.id, of: AccountID(3))?.head, 5, "the head that he still sees")
        try expectEqual(try await room.append(room.entry(3, "c7")).refusal, .notMember, "a message after leaving")
        try await room.send(2, "join7", change: .join([AccountID(3)]))
        try await room.send(1, "c8")
        try expectEqual(try await store.visibility(of: AccountID(3), in: room.id), Visibility(ranges: [3...5, 7 ... .max]), "back again")
        try expectEqual(try await store.conversation(room.id, of: AccountID(3))?.head, 8, "the head that he sees again")
        try expectEqual(try await store.visibility(of: AccountID(1), in: room.id), Visibility(ranges: [1 ... .max]), "who never left")
        try expectEqual(try await store.visibility(of: AccountID(9), in: room.id), nil, "who was never there")
        try expectEqual(try await store.members(of: room.id, after: AccountID(2), limit: 9).map(\.joined), [7], "when he joined")
        try expectEqual(try await store.conversation(room.id, of: AccountID(1))?.memberCount, 3, "members")
    }

    private static func joinTwice(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let join = room.entry(1, "join", change: .join(ids(2, 3, 3, 1)))
        try expectEqual(try await room.append(join).audience, Set(ids(1, 2, 3)), "who sees the join")
        let members = try await stores.conversations.members(of: room.id, after: nil, limit: 10)
        try expectEqual(members.map(\.joined), [1, 1, 2], "when they joined")
        try expectEqual(members.map(\.role), [.owner, .member, .member], "roles")
        try expectEqual(
            try await stores.conversations.visibility(of: AccountID(2), in: room.id), Visibility(ranges: [1 ... .max]), "unchanged")
    }

    private static func succession(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [5, 7])
        try await room.send(5, "join", change: .join([AccountID(1)]))
        try await room.send(5, "leave", change: .leave)
        func roles() async throws -> [String] {
            try await stores.conversations.members(of: room.id, after: nil, limit: 10).map { "\($0.account) \($0.role)" }
        }
        try expectEqual(try await roles(), ["1 member", "7 owner"], "after the owner left")
        try await room.send(7, "leave", change: .leave)
        try expectEqual(try await roles(), ["1 owner"], "after the next owner left")
        try await room.send(1, "leave", change: .leave)
        try expectEqual(try await roles(), [], "after all left")
        try expectEqual(try await stores.conversations.audience(of: room.id)?.accounts, [], "the audience of an empty group")
        try expectEqual(try await room.append(room.entry(1, "late")).refusal, .notMember, "a message to an empty group")
    }

    private static func audiences(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let joined = try await room.append(room.entry(1, "join", change: .join([AccountID(3)])))
        try expectEqual(joined.audience, Set(ids(1, 2, 3)), "who sees a join")
        let left = try await room.append(room.entry(2, "leave", change: .leave))
        try expectEqual(left.audience, Set(ids(1, 2, 3)), "who sees a leave")
        let after = try await room.append(room.entry(1, "c"))
        try expectEqual(after.audience, Set(ids(1, 3)), "who sees what follows")
        let again = try await room.append(room.entry(2, "leave", change: .leave))
        try expectEqual(again.audience, Set(ids(1, 3)), "the members when a leave is repeated")
        let audience = try require(try await stores.conversations.audience(of: room.id), "audience")
        try expectEqual(Set(audience.accounts), Set(ids(1, 3)), "the audience now")
    }

    private static func rename(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        try await room.send(2, "rename", change: .rename("Alpensegler"))
        try expectEqual(try await stores.conversations.conversation(room.id)?.title, "Alpensegler", "the title")
        try expectEqual(try await stores.conversations.conversation(room.id, of: AccountID(1))?.title, "Alpensegler", "as one sees it")
        try expectEqual(try await stores.log.head(of: room.id), 2, "the head")
    }

    private static func pages(_ stores: StoreSet) async throws {
        for id in 1...5 as ClosedRange<UInt64> { _ = try await Room(stores, id: 1000 + id, members: [1, 10 + id]) }
        let store = stores.conversations
        let first = try await store.conversations(of: AccountID(1), after: nil, limit: 3)
        try expectEqual(first.map(\.id.rawValue), [1001, 1002, 1003], "the first page")
        let second = try await store.conversations(of: AccountID(1), after: first.last?.id, limit: 3)
        try expectEqual(second.map(\.id.rawValue), [1004, 1005], "the second page")
        try expectEqual(try await store.conversations(of: AccountID(1), after: ConversationID(.max), limit: 3).count, 0, "after all")
        try expectEqual(try await store.conversations(of: AccountID(77), after: nil, limit: 3).count, 0, "of nobody")
        let room = Room(existing: ConversationID(1002), stores)
        try await room.send(1, "leave", change: .leave)
        try expectEqual(
            try await store.conversations(of: AccountID(1), after: nil, limit: 9).map(\.id.rawValue), [1001, 1003, 1004, 1005],
            "without one left")
        try await Room(existing: ConversationID(1001), stores).send(1, "join", change: .join(ids(3, 4, 5)))
        let members = try await store.members(of: ConversationID(1001), after: AccountID(1), limit: 2)
        try expectEqual(members.map(\.account.rawValue), [3, 4], "a page of members")
    }

    private static func marks(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        for index in 2...9 { try await room.send(1, "c\(index)") }
        func mark(_ account: UInt64, _ read: Seq, _ delivered: Seq) -> Mark {
            Mark(conversation: room.id, account: AccountID(account), read: read, delivered: delivered)
        }
        let store = stores.conversations
        try await store.save([
            mark(2, 4, 6), mark(9, 5, 5), Mark(conversation: ConversationID(404), account: AccountID(2), read: 1, delivered: 1),
        ])
        try await store.save([mark(2, 3, 7)])
        try await store.save([mark(2, 5, 2), mark(1, 9, 9)])
        try await store.save([])
        let members = try await store.members(of: room.id, after: nil, limit: 10)
        try expectEqual(members.map(\.read), [9, 5], "read")
        try expectEqual(members.map(\.delivered), [9, 7], "delivered")
        try expectEqual(try await store.conversation(room.id, of: AccountID(2))?.read, 5, "read, as one sees it")
        try expectEqual(try await store.conversations(of: AccountID(1), after: nil, limit: 1).map(\.read), [9], "read, in the list")
        try await room.send(2, "leave", change: .leave)
        try await store.save([mark(2, 8, 8)])
        try await room.send(1, "join", change: .join([AccountID(2)]))
        try expectEqual(try await store.members(of: room.id, after: AccountID(1), limit: 1).map(\.read), [5], "read, after coming back")
    }
}
