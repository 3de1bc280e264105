import ApusCore
import ApusProtocol
import Collections

/// An entry of the commit log.
struct LoggedEntry: Sendable {
    var position: UInt64
    var clientID: String
    var entry: Entry

    var name: EntryName { EntryName(conversation: entry.conversation, sender: entry.sender, clientID: clientID) }
}

/// The entries that are only in the commit log on disk, not yet in the tables that are ordered for reading. Of a conversation
/// these are its last ones without a gap: all of it before them is in the tables.
struct RecentEntries: Sendable {
    private var runs: [ConversationID: Deque<LoggedEntry>] = [:]
    private var seqs: [EntryName: Seq] = [:]
    /// Of the conversations that have entries here. A copy is cheap: there is nothing in it to retain.
    private(set) var heads: [ConversationID: LogHead] = [:]
    private(set) var count = 0
    /// Of bodies.
    private(set) var bytes = 0

    var conversations: some Sequence<ConversationID> { runs.keys }

    /// Entries come in the order of their positions.
    mutating func append(_ logged: LoggedEntry) {
        let id = logged.entry.conversation
        runs[id, default: []].append(logged)
        seqs[logged.name] = logged.entry.seq
        heads[id] = LogHead(seq: logged.entry.seq, position: logged.position)
        count += 1
        bytes += logged.entry.body.utf8.count
    }

    /// Drops the oldest entries of a conversation, which are in the tables now.
    mutating func removeFirst(_ removed: Int, of id: ConversationID) {
        guard var run = runs.removeValue(forKey: id) else { return }
        for _ in 0..<min(removed, run.count) {
            let logged = run.removeFirst()
            seqs[logged.name] = nil
            count -= 1
            bytes -= logged.entry.body.utf8.count
        }
        if run.isEmpty { heads[id] = nil } else { runs[id] = run }
    }

    /// The oldest entries of a conversation up to a position.
    func prefix(of id: ConversationID, through position: UInt64, limit: Int) -> [LoggedEntry] {
        guard let run = runs[id] else { return [] }
        return Array(run.prefix(limit).prefix { $0.position <= position })
    }

    func entry(named name: EntryName) -> Entry? {
        guard let seq = seqs[name], let run = runs[name.conversation], let first = run.first?.entry.seq else { return nil }
        return run[Int(seq - first)].entry
    }

    /// The first seq of a conversation that is here; nil: all of it is in the tables.
    func firstSeq(of id: ConversationID) -> Seq? { runs[id]?.first?.entry.seq }

    /// Those of the range that are here, at most `limit`.
    func entries(of id: ConversationID, in range: ClosedRange<Seq>, limit: Int) -> [Entry] {
        guard let run = runs[id], let first = run.first?.entry.seq, range.upperBound >= first else { return [] }
        let start = range.lowerBound > first ? range.lowerBound - first : 0
        guard start < UInt64(run.count) else { return [] }
        let end = min(UInt64(run.count), range.upperBound - first + (range.upperBound == .max ? 0 : 1))
        guard start < end else { return [] }
        return run[Int(start)..<Int(end)].prefix(limit).map(\.entry)
    }
}
