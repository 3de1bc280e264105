import ApusCore
import ApusProtocol

/// The promises of ``EntryLog`` about heads and positions: what sync and the head sweep stand on.
public enum HeadConformance {
    public static let cases: [ConformanceCase<StoreSet>] = [
        .init("heads of an account are those that moved after a position", headsSince),
        .init("heads of an account come in pages by conversation", headPages),
        .init("the head of who left is the last entry that he sees", headsOfLeavers),
        .init("moved heads come in the order of the log, and a cut page says where to go on", movedHeads),
        .init("a position grows with every entry and from nothing else", positions),
        .init("no moved head is missed while entries are appended", sweepUnderAppends),
    ]

    private static let all = 1000

    private static func headsSince(_ stores: StoreSet) async throws {
        let first = try await Room(stores, id: 1001, members: [1, 2])
        let second = try await Room(stores, id: 1002, members: [1, 3])
        _ = try await Room(stores, id: 1003, members: [2, 3])
        try await first.send(1, "c")
        try await stores.conversations.save([Mark(conversation: first.id, account: AccountID(1), read: 1, delivered: 2)])
        let page = try await stores.log.heads(of: AccountID(1), since: .start, after: nil, limit: all)
        try expectEqual(
            page.heads,
            [ConversationHead(conversation: first.id, seq: 2, read: 1), ConversationHead(conversation: second.id, seq: 1, read: 0)],
            "all heads")
        try expectEqual(page.next, nil, "one page is all")
        let quiet = try await stores.log.heads(of: AccountID(1), since: page.position, after: nil, limit: all)
        try expectMoved(quiet.heads, [], stores, "nothing moved")
        try await second.send(3, "c")
        let moved = try await stores.log.heads(of: AccountID(1), since: page.position, after: nil, limit: all)
        try expectMoved(moved.heads, [ConversationHead(conversation: second.id, seq: 2)], stores, "one moved")
        try expectMoved(
            try await stores.log.heads(of: AccountID(1), since: moved.position, after: nil, limit: all).heads, [], stores, "and no more")
        let future = LogPosition(rawValue: moved.position.rawValue + 1000)
        let restored = try await stores.log.heads(of: AccountID(1), since: future, after: nil, limit: all)
        try expectEqual(restored.heads.count, 2, "heads since a position that the log has not reached: all of them")
        try expectEqual(try await stores.log.heads(of: AccountID(9), since: .start, after: nil, limit: all).heads, [], "of nobody")
        _ = try await stores.conversations.direct(between: AccountID(1), and: AccountID(9), proposedID: ConversationID(7), at: time(1))
        try expectEqual(try await stores.log.heads(of: AccountID(9), since: .start, after: nil, limit: all).heads, [], "an empty log")
    }

    /// These moved; where positions are not exact, others may be among them.
    private static func expectMoved(_ heads: [ConversationHead], _ moved: [ConversationHead], _ stores: StoreSet, _ what: String) throws {
        let reported = stores.positionsAreExact ? heads : heads.filter(moved.contains)
        try expectEqual(reported, moved, what)
    }

    private static func headPages(_ stores: StoreSet) async throws {
        for id in 1...5 as ClosedRange<UInt64> { _ = try await Room(stores, id: 1000 + id, members: [1]) }
        let first = try await stores.log.heads(of: AccountID(1), since: .start, after: nil, limit: 2)
        try expectEqual(first.heads.map(\.conversation.rawValue), [1001, 1002], "the first page")
        let second = try await stores.log.heads(of: AccountID(1), since: .start, after: try require(first.next, "next"), limit: 2)
        try expectEqual(second.heads.map(\.conversation.rawValue), [1003, 1004], "the second page")
        let third = try await stores.log.heads(of: AccountID(1), since: .start, after: try require(second.next, "next"), limit: 2)
        try expectEqual(third.heads.map(\.conversation.rawValue), [1005], "the third page")
        try expectEqual(third.next, nil, "the third page is the last")
    }

    private static func headsOfLeavers(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        try await room.send(1, "c2")
        try await room.send(2, "leave3", change: .leave)
        try await room.send(1, "c4")
        func head() async throws -> [Seq] {
            try await stores.log.heads(of: AccountID(2), since: .start, after: nil, limit: all).heads.map(\.seq)
        }
        try expectEqual(try await head(), [3], "after leaving")
        try await room.send(1, "join5", change: .join([AccountID(2)]))
        try await room.send(1, "c6")
        try expectEqual(try await head(), [6], "after coming back")
    }

    private static func movedHeads(_ stores: StoreSet) async throws {
        var rooms: [Room] = []
        for id in 1...4 as ClosedRange<UInt64> { rooms.append(try await Room(stores, id: 1000 + id, members: [1])) }
        let start = try await stores.log.position()
        try expectMoved(try await stores.log.movedHeads(since: start, limit: all).heads, [], stores, "nothing moved")
        for (index, place) in [3, 0, 2, 0].enumerated() { try await rooms[place].send(1, "c\(index)") }
        let whole = try await stores.log.movedHeads(since: start, limit: all)
        let expected = [(3, 2), (2, 2), (0, 3)].map { ConversationHead(conversation: rooms[$0.0].id, seq: Seq($0.1)) }
        try expectMoved(whole.heads, expected, stores, "in the order of the log")
        try expectEqual(whole.position, try await stores.log.position(), "the end of the log")
        var since = start
        var pages: [ConversationHead] = []
        repeat {
            let page = try await stores.log.movedHeads(since: since, limit: 2)
            if stores.positionsAreExact { try expectEqual(page.heads, Array(expected.dropFirst(pages.count).prefix(2)), "page by page") }
            pages += page.heads
            since = page.position
        } while !expected.allSatisfy(pages.contains)
        try expectEqual(since, whole.position, "the end of the log again")
    }

    private static func positions(_ stores: StoreSet) async throws {
        try expectEqual(try await stores.log.position(), .start, "an empty log")
        let room = try await Room(stores, members: [1])
        let first = try await stores.log.position()
        try expect(first.rawValue > 0, "it moves")
        _ = try await room.append([room.entry(1, "a"), room.entry(1, "b")])
        let second = try await stores.log.position()
        try expect(second.rawValue > first.rawValue, "it moves again")
        _ = try await room.append([room.entry(1, "a"), room.entry(9, "x")])
        try expectEqual(try await stores.log.position(), second, "duplicates and refusals move nothing")
    }

    private static func sweepUnderAppends(_ stores: StoreSet) async throws {
        var rooms: [Room] = []
        for id in 1...5 as ClosedRange<UInt64> { rooms.append(try await Room(stores, id: 1000 + id, members: [1])) }
        let total = 400
        let writers = rooms
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for index in 0..<total { _ = try await writers[index % 5].append([writers[index % 5].entry(1, "c\(index)")]) }
            }
            group.addTask {
                var since = LogPosition.start
                var heads: [ConversationID: Seq] = [:]
                while heads.count < 5 || heads.values.contains(where: { $0 < Seq(total / 5 + 1) }) {
                    let page = try await stores.log.movedHeads(since: since, limit: 3)
                    for head in page.heads {
                        try expect(head.seq >= heads[head.conversation] ?? 0, "a head never goes back")
                        heads[head.conversation] = head.seq
                    }
                    since = page.position
                    let end = try await stores.log.position()
                    try expect(since.rawValue <= end.rawValue, "a page does not reach beyond the log")
                }
            }
            try await group.waitForAll()
        }
    }
}
