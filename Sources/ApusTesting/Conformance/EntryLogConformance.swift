import ApusCore
import ApusProtocol

/// The promises of ``EntryLog``, appending and reading ranges. More in ``MembershipConformance`` and ``HeadConformance``.
public enum EntryLogConformance {
    public static let cases: [ConformanceCase<StoreSet>] = [
        .init("seqs of a conversation are 1, 2, 3 and entries come back as they went in", gapless),
        .init("a batch over several conversations is answered in its order", batches),
        .init("the same name and content is one entry with one answer", idempotency),
        .init("the same name with other content is refused", conflict),
        .init("an entry of a batch sees those before it", batchVisibility),
        .init("who is no member is refused, and so is a conversation that there is not", strangers),
        .init("a page of entries keeps its limits and has at least one entry", pages),
        .init("text of every kind survives, and so does an empty one", texts),
        .init("readers see a prefix without a gap while entries are appended", concurrentReaders),
    ]

    private static func gapless(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        var sent: [Entry] = []
        for index in 2...40 as ClosedRange<UInt64> { sent.append(try await room.send(1 + index % 2, "c\(index)", body: "body \(index)")) }
        try expectEqual(sent.map(\.seq), Array(2...40), "seqs")
        try expectEqual(Array(try await room.entries().dropFirst()), sent, "entries read")
        try expectEqual(try await stores.log.head(of: room.id), 40, "the head")
        try expectEqual(try await stores.log.head(of: ConversationID(404)), 0, "the head of no conversation")
    }

    private static func batches(_ stores: StoreSet) async throws {
        let rooms = [
            try await Room(stores, id: 1000, members: [1]), try await Room(stores, id: 1001, members: [1]),
            try await Room(stores, id: 1002, members: [1]),
        ]
        let batch = (0..<30).map { rooms[$0 % 3].entry(1, "c\($0)", body: "\($0)") }
        let outcomes = try await rooms[0].append(batch)
        try expectEqual(outcomes.map(\.seq), (0..<30).map { Seq($0 / 3 + 2) }, "seqs in the order of the batch")
        for (place, room) in rooms.enumerated() {
            try expectEqual(try await room.entries(2 ... .max).map(\.body), stride(from: place, to: 30, by: 3).map(String.init), "a log")
        }
        try expect(try await stores.log.appendBlocking([]).isEmpty, "an empty batch has an empty answer")
    }

    private static func idempotency(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let first = try await room.send(1, "same")
        try await room.send(2, "other")
        var again = room.entry(1, "same")
        again.id = EntryID(99)
        again.at = time(99)
        guard case .duplicate(let entry, let audience) = try await room.append(again) else {
            throw ConformanceFailure("a repeated entry is no duplicate", #fileID, #line)
        }
        try expectEqual(entry, first, "the first entry of the name")
        try expectEqual(Set(audience.accounts), [AccountID(1), AccountID(2)], "who may see it")
        try expect(try await room.send(2, "same").seq == 4, "another sender has names of its own")
        let other = try await Room(stores, id: 2000, members: [1])
        try expect(try await other.send(1, "same").seq == 2, "another conversation has names of its own")
        try expectEqual(try await stores.log.head(of: room.id), 4, "the head")
    }

    private static func conflict(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        try await room.send(1, "same")
        try expectEqual(try await room.append(room.entry(1, "same", body: "other")).refusal, .conflict, "another body")
        try expectEqual(try await room.append(room.entry(1, "same", kind: .custom)).refusal, .conflict, "another kind")
        try expectEqual(try await stores.log.head(of: room.id), 2, "the head")
    }

    private static func batchVisibility(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        let outcomes = try await room.append([
            room.entry(1, "a"), room.entry(1, "a"), room.entry(1, "a", body: "other"), room.entry(2, "bye", change: .leave),
            room.entry(2, "late"), room.entry(2, "bye", change: .leave), room.entry(1, "b"),
        ])
        try expectEqual(outcomes.map(\.seq), [2, nil, nil, 3, nil, nil, 4], "seqs")
        guard case .duplicate(let entry, _) = outcomes[1] else { throw ConformanceFailure("\(outcomes[1])", #fileID, #line) }
        try expectEqual(entry.seq, 2, "the first of the batch")
        try expectEqual(outcomes[2].refusal, .conflict, "other content within a batch")
        try expectEqual(outcomes[4].refusal, .notMember, "after the sender's leave")
        guard case .duplicate = outcomes[5] else { throw ConformanceFailure("a leave repeated: \(outcomes[5])", #fileID, #line) }
        try expectEqual(outcomes[6].audience, [AccountID(1)], "who may see what follows")
        let created = NewEntry(
            id: EntryID(1), conversation: ConversationID(3000), sender: AccountID(5), clientID: "new", kind: .system, body: "{}",
            at: time(1),
            change: .create(title: "t", members: [AccountID(6)]))
        var first = created
        first.sender = AccountID(6)
        first.clientID = "hi"
        first.change = nil
        try expectEqual(try await room.append([created, first]).map(\.seq), [1, 2], "an entry after the one that makes its conversation")
    }

    private static func strangers(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1, 2])
        try expectEqual(try await room.append(room.entry(3, "x")).refusal, .notMember, "a stranger")
        var nowhere = room.entry(1, "x")
        nowhere.conversation = ConversationID(404)
        try expectEqual(try await room.append(nowhere).refusal, .notMember, "no conversation")
        nowhere.change = .leave
        try expectEqual(try await room.append(nowhere).refusal, .notMember, "leaving no conversation")
        try expectEqual(try await stores.log.head(of: room.id), 1, "the head")
        try expectEqual(try await stores.conversations.conversation(ConversationID(404)), nil, "nothing was made")
    }

    private static func pages(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1])
        for index in 2...10 { try await room.send(1, "c\(index)", body: String(repeating: "x", count: 100)) }
        func page(_ range: ClosedRange<Seq>, _ limit: Int, _ bytes: Int) async throws -> [Seq] {
            try await stores.log.entries(of: room.id, in: range, limit: limit, bytesMax: bytes).map(\.seq)
        }
        try expectEqual(try await page(3...5, 100, .max), [3, 4, 5], "a range")
        try expectEqual(try await page(1...1, 100, .max), [1], "one entry")
        try expectEqual(try await page(0...2, 100, .max), [1, 2], "a range from before the first")
        try expectEqual(try await page(4 ... .max, 3, .max), [4, 5, 6], "a limit of entries")
        try expectEqual(try await page(9 ... .max, 100, .max), [9, 10], "an open range")
        try expectEqual(try await page(2 ... .max, 100, 250), [2, 3], "a limit of bytes")
        try expectEqual(try await page(2 ... .max, 100, 1), [2], "at least one")
        try expectEqual(try await page(11 ... .max, 100, .max), [], "after the head")
        try expectEqual(try await page(.max ... .max, 100, .max), [], "the end of all logs")
        try expectEqual(try await page(1...10, 0, .max), [], "no limit at all")
        try expect(
            try await stores.log.entries(of: ConversationID(404), in: 1...10, limit: 10, bytesMax: 100).isEmpty, "no conversation")
    }

    private static func texts(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1])
        let bodies = ["", "\u{0}", "a\u{0}b", "'; DROP TABLE entry; --", "🐦‍⬛ e\u{301} é \u{FFFD}", String(repeating: "ö", count: 40_000)]
        for (index, body) in bodies.enumerated() { try await room.send(1, "\u{0}c'%_\(index)", body: body) }
        try expectEqual(try await room.entries(2 ... .max).map { Array($0.body.utf8) }, bodies.map { Array($0.utf8) }, "bodies")
        for (index, body) in bodies.enumerated() {
            guard case .duplicate = try await room.append(room.entry(1, "\u{0}c'%_\(index)", body: body)) else {
                throw ConformanceFailure("the name of text \(index) was not found", #fileID, #line)
            }
        }
    }

    private static func concurrentReaders(_ stores: StoreSet) async throws {
        let room = try await Room(stores, members: [1])
        let total: Seq = 600
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var next = 2
                while next <= total {
                    let batch = (next..<min(next + 7, Int(total) + 1)).map { room.entry(1, "c\($0)", body: "\($0)") }
                    _ = try await room.append(batch)
                    next += batch.count
                }
            }
            for _ in 0..<3 {
                group.addTask {
                    var seen: Seq = 1
                    while seen < total {
                        let head = try await stores.log.head(of: room.id)
                        let page = try await room.entries((seen + 1) ... .max, limit: 50)
                        try expectEqual(page.map(\.seq), Array((seen + 1)..<(seen + 1 + UInt64(page.count))), "a page that was read")
                        try expect(page.allSatisfy { $0.body == "\($0.seq)" }, "bodies in their places")
                        try expect(!page.isEmpty || head <= seen, "an entry below the head can be read")
                        seen += UInt64(page.count)
                        await Task.yield()
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
