import ApusProtocol

/// How far the move of recent entries into their tables is. One run takes all that is in the commit log at its beginning;
/// it goes on in slices that ride on the transactions of appends, so it costs no sync of its own.
struct LogFlush: Sendable {
    enum State: Sendable {
        case idle
        /// Conversations whose entries up to the position are still to be moved, the next one last.
        case moving([ConversationID], through: UInt64)
        /// The entries up to the position are in the tables; their rows of the log are still to be deleted.
        case deleting(through: UInt64)
    }

    /// Begins when this many entries wait.
    var entriesMin: Int
    /// Or bodies of this many bytes.
    var bytesMin: Int
    /// Slices are not smaller: neighbours share pages.
    var sliceMin: Int

    var state = State.idle
    /// All rows of the log up to here are deleted.
    var deletedThrough: UInt64 = 0
    /// Rows of work owed by the appends so far.
    private var debt = 0

    init(entriesMin: Int, bytesMin: Int, sliceMin: Int) {
        self.entriesMin = entriesMin
        self.bytesMin = bytesMin
        self.sliceMin = sliceMin
    }

    /// How many rows an append moves along with its own; 0: none. Two for each appended row, so a run ends before the next is
    /// due.
    mutating func budget(appending rows: Int, to recent: RecentEntries) -> Int {
        if case .idle = state {
            guard recent.count >= entriesMin || recent.bytes >= bytesMin else { return 0 }
        }
        debt += rows * 2
        guard debt >= sliceMin else { return 0 }
        defer { debt = 0 }
        return debt
    }
}

/// The work that one append does for the flush, decided before its transaction; `next` holds once that is committed.
struct FlushSlice: Sendable {
    enum Work: Sendable {
        case none
        /// Ascending by conversation and seq.
        case move([LoggedEntry])
        case delete(after: UInt64, through: UInt64)
    }

    private(set) var work = Work.none
    /// How many of the oldest recent entries of which conversation are in the tables then.
    private(set) var moved: [(id: ConversationID, count: Int)] = []
    private(set) var next: LogFlush.State
    private(set) var deletedThrough: UInt64

    /// - Parameter end: the position of the last entry that is committed.
    init(_ flush: inout LogFlush, appending rows: Int, to recent: RecentEntries, end: UInt64) {
        next = flush.state
        deletedThrough = flush.deletedThrough
        let budget = flush.budget(appending: rows, to: recent)
        guard budget > 0 else { return }
        switch flush.state {
        case .idle:
            move(Array(recent.conversations).sorted(by: >), through: end, from: recent, budget: budget)
        case .moving(let conversations, let through):
            move(conversations, through: through, from: recent, budget: budget)
        case .deleting(let through):
            // Four for one: they lie side by side.
            deletedThrough = min(through, flush.deletedThrough + UInt64(budget) * 4)
            work = .delete(after: flush.deletedThrough, through: deletedThrough)
            if deletedThrough == through { next = .idle }
        }
    }

    private mutating func move(_ conversations: [ConversationID], through: UInt64, from recent: RecentEntries, budget: Int) {
        var rest = conversations
        var entries: [LoggedEntry] = []
        while let id = rest.last, entries.count < budget {
            let room = budget - entries.count
            let run = recent.prefix(of: id, through: through, limit: room)
            entries += run
            moved.append((id, run.count))
            if run.count < room { rest.removeLast() }
        }
        work = .move(entries)
        next = rest.isEmpty ? .deleting(through: through) : .moving(rest, through: through)
    }
}
