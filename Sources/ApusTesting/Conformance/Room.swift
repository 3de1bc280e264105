import ApusCore
import ApusProtocol
import Dispatch

/// A group in a store under test, with short ways to write to it. Accounts are named by small numbers.
struct Room: Sendable {
    let stores: StoreSet
    let id: ConversationID

    /// Makes the group; the first member creates it with the entry of seq 1.
    init(_ stores: StoreSet, id: UInt64 = 1000, members: [UInt64], title: String = "room") async throws {
        self.stores = stores
        self.id = ConversationID(id)
        let others = members.dropFirst().map { AccountID($0) }
        let outcome = try await append([entry(members[0], "create-\(id)", change: .create(title: title, members: others))])[0]
        guard case .appended(seq: 1, _) = outcome else { throw ConformanceFailure("creating a group: \(outcome)", #fileID, #line) }
    }

    /// A group that exists.
    init(existing id: ConversationID, _ stores: StoreSet) {
        self.stores = stores
        self.id = id
    }

    func entry(
        _ sender: UInt64, _ client: String, body: String = "hello", kind: EntryKind = .text, change: ConversationChange? = nil
    ) -> NewEntry {
        NewEntry(
            id: EntryID(client.utf8.reduce(sender) { ($0 &* 131 &+ UInt64($1)) >> 1 }), conversation: id, sender: AccountID(sender),
            clientID: client,
            kind: change == nil ? kind : .system, body: change == nil ? body : "{}", at: time(5), change: change)
    }

    /// Appends a batch on a thread that may block.
    func append(_ batch: [NewEntry]) async throws -> [AppendOutcome] { try await stores.log.appendBlocking(batch) }

    func append(_ entry: NewEntry) async throws -> AppendOutcome { try await append([entry])[0] }

    /// Appends an entry that is expected to be new.
    @discardableResult
    func send(_ sender: UInt64, _ client: String, body: String = "hello", change: ConversationChange? = nil) async throws -> Entry {
        let new = entry(sender, client, body: body, change: change)
        let outcome = try await append(new)
        guard case .appended(let seq, _) = outcome else { throw ConformanceFailure("sending \(client): \(outcome)", #fileID, #line) }
        return new.entry(seq: seq)
    }

    func entries(_ range: ClosedRange<Seq> = 1 ... .max, limit: Int = 1000) async throws -> [Entry] {
        try await stores.log.entries(of: id, in: range, limit: limit, bytesMax: .max)
    }
}

extension EntryLog {
    /// ``append(_:)`` on a thread of its own.
    func appendBlocking(_ batch: [NewEntry]) async throws -> [AppendOutcome] {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try self.append(batch) }) }
        }
    }
}

extension AppendOutcome {
    /// Nil unless it is new.
    var seq: Seq? { if case .appended(let seq, _) = self { seq } else { nil } }

    var refusal: AppendRefusal? { if case .refused(let refusal) = self { refusal } else { nil } }

    var audience: Set<AccountID> {
        switch self {
        case .appended(_, let audience), .duplicate(_, let audience): Set(audience.accounts)
        case .refused: []
        }
    }
}
