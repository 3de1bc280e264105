import ApusCore
import ApusProtocol

/// The head of a conversation and the position of its entry.
struct LogHead: Sendable, Hashable, Comparable {
    var seq: Seq
    var position: UInt64

    static func < (left: Self, right: Self) -> Bool { left.position < right.position }
}

/// Collects entries up to a number and a size of bodies, but at least one.
struct EntryPageBuilder: Sendable {
    let limit: Int
    let bytesMax: Int
    private(set) var entries: [Entry] = []
    private(set) var bytes = 0
    private(set) var isFull = false

    init(limit: Int, bytesMax: Int) {
        self.limit = limit
        self.bytesMax = bytesMax
    }

    /// Returns whether it was taken. After one that was not the page is complete.
    @discardableResult
    mutating func add(_ entry: Entry) -> Bool {
        let size = entry.body.utf8.count
        if isFull || entries.count >= limit || (!entries.isEmpty && bytes + size > bytesMax) {
            isFull = true
            return false
        }
        entries.append(entry)
        bytes += size
        return true
    }
}

/// Collects the visible heads of conversations from the stays of one account, which come in order.
struct HeadPageBuilder {
    let limit: Int
    private var heads: [ConversationHead] = []
    private var ranges: [ClosedRange<Seq>] = []
    private var isCut = false

    init(limit: Int) { self.limit = limit }

    /// Returns false when the page is full.
    mutating func add(_ stay: ClosedRange<Seq>, of id: ConversationID, head: Seq, read: Seq) -> Bool {
        let isNew = heads.last?.conversation != id
        if isNew && heads.count >= limit {
            isCut = true
            return false
        }
        ranges = isNew ? [stay] : ranges + [stay]
        let visible = ConversationHead(conversation: id, seq: Visibility(ranges: ranges).head(of: head), read: read)
        if isNew { heads.append(visible) } else { heads[heads.count - 1] = visible }
        return true
    }

    func page(position: LogPosition) -> HeadPage {
        // Nothing to see: the account joined after the heads were taken, and the next call reports that.
        HeadPage(heads: heads.filter { $0.seq > 0 }, position: position, next: isCut ? heads.last?.conversation : nil)
    }
}
