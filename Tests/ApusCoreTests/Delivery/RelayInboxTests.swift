import ApusProtocol
import NIOConcurrencyHelpers
import Testing

@testable import ApusCore

/// Has one audience for every conversation below 100, which fails and blocks when the test says so.
private final class FakeConversations: ConversationStore {
    private let audience = NIOLockedValueBox<Audience?>(nil)
    private let isBroken = NIOLockedValueBox(false)
    private let gate = NIOLockedValueBox<CheckedContinuation<Void, Never>?>(nil)
    private let isGated: Bool
    let entered = Journal()

    init(_ accounts: [UInt64], rosterSeq: Seq, isGated: Bool = false) {
        self.isGated = isGated
        audience.withLockedValue { $0 = Audience(accounts.map { AccountID($0) }, rosterSeq: rosterSeq) }
    }

    func `break`() { isBroken.withLockedValue { $0 = true } }
    func open() { gate.withLockedValue { $0 }?.resume() }

    func audience(of id: ConversationID) async throws -> Audience? {
        if isGated {
            await withCheckedContinuation { continuation in
                gate.withLockedValue { $0 = continuation }
                entered.note("asked")
            }
        }
        if isBroken.withLockedValue({ $0 }) { throw ApusError(.storeUnavailable, "no store") }
        return id.rawValue < 100 ? audience.withLockedValue { $0 } : nil
    }

    func direct(between: AccountID, and: AccountID, proposedID: ConversationID, at: Timestamp) async throws -> Conversation {
        Conversation(id: proposedID, kind: .direct, title: "", createdAt: at)
    }
    func conversation(_ id: ConversationID) async throws -> Conversation? { nil }
    func conversations(of account: AccountID, after: ConversationID?, limit: Int) async throws -> [ConversationInfo] { [] }
    func conversation(_ id: ConversationID, of account: AccountID) async throws -> ConversationInfo? { nil }
    func members(of id: ConversationID, after: AccountID?, limit: Int) async throws -> [MemberInfo] { [] }
    func visibility(of account: AccountID, in id: ConversationID) async throws -> Visibility? { nil }
    func save(_ marks: [Mark]) async throws {}
}

@Suite("What other nodes relay", .timeLimit(.minutes(1)))
struct RelayInboxTests {
    private let sessions = JournalSessions()
    private let peer = NodeID(number: 2, epoch: 1)

    private func make(_ conversations: FakeConversations, queueBytesMax: Int = 1 << 20) -> RelayInbox {
        RelayInbox(
            handover: sessions, sessions: sessions, conversations: conversations, queueBytesMax: queueBytesMax, clock: HandClock(),
            logger: silentLogger)
    }

    private func running(_ inbox: RelayInbox, _ body: () async throws -> Void) async throws {
        let task = Task { try await inbox.run() }
        try await body()
        task.cancel()
        try await task.value
    }

    @Test("what names its readers goes to them at once and in order, without the store")
    func named() async {
        let inbox = make(FakeConversations([], rosterSeq: 1))
        inbox.receive(
            [
                .entry(testEntry(1, 1), to: .accounts([AccountID(2), AccountID(3)]), isDuplicate: false),
                .signal(.typing(ConversationID(1), AccountID(4)), to: .accounts([AccountID(2)])),
                .entry(testEntry(1, 2), to: .accounts([AccountID(2)]), isDuplicate: true),
            ], from: peer)
        #expect(await sessions.journal.next(3) == ["1/1>2,3", "typing 1 4>2", "1/2*>2"])
    }

    @Test("an entry for all members goes to those of the same roster")
    func sameRoster() async throws {
        let inbox = make(FakeConversations([2, 3], rosterSeq: 5))
        inbox.receive(
            [
                .entry(testEntry(1, 6), to: .members(rosterSeq: 5), isDuplicate: false),
                .signal(.typing(ConversationID(1), AccountID(2)), to: .members(rosterSeq: 5)),
            ], from: peer)
        try await running(inbox) { #expect(await sessions.journal.next(2) == ["1/6>2,3", "typing 1 2>2,3"]) }
    }

    @Test(
        "with another roster nobody is handed an entry: the sessions read what they may see; signals are dropped",
        arguments: [4, 6] as [Seq])
    func otherRoster(rosterSeq: Seq) async throws {
        let inbox = make(FakeConversations([2, 3], rosterSeq: 5))
        inbox.receive(
            [
                .signal(.typing(ConversationID(1), AccountID(2)), to: .members(rosterSeq: rosterSeq)),
                .entry(testEntry(1, 7), to: .members(rosterSeq: rosterSeq), isDuplicate: false),
            ], from: peer)
        try await running(inbox) { #expect(await sessions.journal.next(1) == ["repair 1/7>2,3"]) }
        #expect(inbox.lossCount == 0)
    }

    @Test("a conversation that the store does not know is nobody's")
    func unknown() async throws {
        let inbox = make(FakeConversations([2], rosterSeq: 5))
        inbox.receive(
            [
                .entry(testEntry(100, 1), to: .members(rosterSeq: 5), isDuplicate: false),
                .entry(testEntry(1, 1), to: .members(rosterSeq: 5), isDuplicate: false),
            ], from: peer)
        try await running(inbox) { #expect(await sessions.journal.next(1) == ["1/1>2"]) }
    }

    @Test("a store that fails costs the hand-over, which is counted")
    func storeFails() async throws {
        let store = FakeConversations([2], rosterSeq: 5, isGated: true)
        store.break()
        let inbox = make(store)
        inbox.receive([.entry(testEntry(1, 1), to: .members(rosterSeq: 5), isDuplicate: false)], from: peer)
        // A second one: when it is asked for, the first has been dealt with.
        inbox.receive([.entry(testEntry(1, 2), to: .members(rosterSeq: 5), isDuplicate: false)], from: peer)
        try await running(inbox) {
            _ = await store.entered.next(1)
            store.open()
            _ = await store.entered.next(1)
            #expect(inbox.lossCount == 1)
            store.open()
        }
    }

    @Test("a logout and what names its readers do not wait for a store that hangs, and what waits for it is bounded")
    func storeHangs() async throws {
        let store = FakeConversations([2], rosterSeq: 5, isGated: true)
        let inbox = make(store, queueBytesMax: 600)
        try await running(inbox) {
            inbox.receive([.entry(testEntry(1, 1), to: .members(rosterSeq: 5), isDuplicate: false)], from: peer)
            _ = await store.entered.next(1)
            let more = (2...6).map { RelayMessage.entry(testEntry(1, $0), to: .members(rosterSeq: 5), isDuplicate: false) }
            inbox.receive(more, from: peer)
            #expect(inbox.lossCount == 3)
            inbox.receive([.close([DeviceID(4)], account: AccountID(2), code: .deviceRevoked)], from: peer)
            #expect(await sessions.journal.next(1) == ["close 2 [4] 4201"])
            inbox.receive([.entry(testEntry(9, 1), to: .accounts([AccountID(3)]), isDuplicate: false)], from: peer)
            #expect(await sessions.journal.next(1) == ["9/1>3"])
            for _ in 0..<2 {
                store.open()
                _ = await store.entered.next(1)
            }
            store.open()
            #expect(await sessions.journal.next(3) == ["1/1>2", "1/2>2", "1/3>2"])
        }
    }
}

@Suite("Relay messages on the wire")
struct RelayWireTests {
    private static let longest = String(repeating: "é", count: 5000)

    static let messages: [RelayMessage] = [
        .entry(testEntry(.max, .max, body: longest, sender: .max), to: .accounts([AccountID(.max), AccountID(1)]), isDuplicate: true),
        .entry(
            Entry(
                conversation: ConversationID(.max), seq: .max, id: EntryID(.max), sender: AccountID(.max),
                at: Timestamp(milliseconds: -1), kind: EntryKind(rawValue: String(repeating: "k", count: 32)), body: ""),
            to: .members(rosterSeq: .max), isDuplicate: true),
        .entry(testEntry(1, 2), to: .members(rosterSeq: 0), isDuplicate: false),
        .signal(.typing(ConversationID(.max), AccountID(.max)), to: .members(rosterSeq: .max)),
        .signal(
            .mark(Mark(conversation: ConversationID(.max), account: AccountID(.max), read: .max, delivered: .max)),
            to: .accounts((1...300).map { AccountID(.max - $0) })),
        .close((1...1000).map { DeviceID(.max - $0) }, account: AccountID(.max), code: CloseCode(rawValue: .max)),
    ]

    @Test("a message comes out as it went in, and is no larger than it was counted", arguments: messages.indices)
    func roundTrip(index: Int) throws {
        let message = Self.messages[index]
        let bytes = try WireRelayBatch([message]).encoded()
        let back = try WireRelayBatch(decoding: bytes).relayMessages
        #expect(back.map { String(describing: $0) } == [String(describing: message)])
        #expect(bytes.count <= message.wireBytesMax)
    }

    @Test("a message of a later version is left out, the others are understood")
    func later() throws {
        var batch = WireRelayBatch([Self.messages[2]])
        batch.messages.insert(WireRelayMessage(), at: 0)
        #expect(try WireRelayBatch(decoding: batch.encoded()).relayMessages.count == 1)
    }

    @Test("only 0 to 1,023 are numbers of nodes")
    func nodes() {
        var wire = WirePeerNode(NodeID(number: 1023, epoch: .max))
        #expect(NodeID(wire) == NodeID(number: 1023, epoch: .max))
        wire.number = 1024
        #expect(NodeID(wire) == nil)
    }
}
