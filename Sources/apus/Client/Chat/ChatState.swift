import ApusClient
import ApusProtocol
import Foundation

/// What a chat knows beyond the local store: which conversation is open, who is typing there, how far the others are. A value
/// without I/O; times are handed in.
struct ChatState {
    struct Open: Equatable {
        var id: ConversationID
        var name: String
        var kind: ConversationKind
        /// The last entry of this account that the log has.
        var lastOwn: Seq = 0
        /// The others' marks.
        var marks: [AccountID: ReadMarks] = [:]
    }

    enum Progress: Equatable {
        case nothingSent
        case sending(Int)
        case sent
        case delivered
        case read(by: Int, of: Int)
    }

    /// A mark that passed this account's last message: worth telling.
    enum News: Equatable {
        case delivered(AccountID, Seq)
        case read(AccountID, Seq)
    }

    /// After this long without a sign somebody is no longer typing; the SDK sends one every three seconds.
    static let typingSeconds = 6.0

    let me: AccountID
    private(set) var open: Open?
    private(set) var unread: [ConversationID: Int] = [:]
    private(set) var typing: [AccountID: Date] = [:]
    /// Client ids of messages that wait for their acknowledgement, by conversation.
    private(set) var unsent: [String: ConversationID] = [:]
    var connection = ConnectionState.disconnected

    init(me: AccountID) { self.me = me }

    mutating func open(_ conversation: Open, marks: [ReadMarks]) {
        open = conversation
        typing = [:]
        unread[conversation.id] = nil
        for mark in marks where mark.account != me { open?.marks[mark.account] = mark }
    }

    mutating func closeConversation() {
        open = nil
        typing = [:]
    }

    mutating func rename(_ name: String) { open?.name = name }

    mutating func setUnread(_ counts: [ConversationID: Int]) {
        unread = counts.filter { $0.value > 0 && $0.key != open?.id }
    }

    /// Whether the entry belongs to the open conversation. An entry of another one counts as unread there.
    mutating func received(_ entry: Entry) -> Bool {
        if entry.conversation == open?.id {
            typing[entry.sender] = nil
            showed([entry])
            return true
        }
        if entry.sender != me, entry.kind != .system { unread[entry.conversation, default: 0] += 1 }
        return false
    }

    /// Entries of the open conversation are on the screen.
    mutating func showed(_ entries: [Entry]) {
        let last = entries.filter { $0.sender == me }.map(\.seq).max() ?? 0
        if let known = open?.lastOwn, last > known { open?.lastOwn = last }
    }

    mutating func received(_ marks: ReadMarks) -> News? {
        if marks.account == me {
            if marks.conversation != open?.id, marks.read > 0 { unread[marks.conversation] = nil }
            return nil
        }
        guard let open, marks.conversation == open.id else { return nil }
        let before = open.marks[marks.account]
        self.open?.marks[marks.account] = marks
        guard open.lastOwn > 0 else { return nil }
        if marks.read >= open.lastOwn, (before?.read ?? 0) < open.lastOwn { return .read(marks.account, open.lastOwn) }
        let hadIt = max(before?.delivered ?? 0, before?.read ?? 0) >= open.lastOwn
        if marks.delivered >= open.lastOwn, !hadIt { return .delivered(marks.account, open.lastOwn) }
        return nil
    }

    mutating func isTyping(_ account: AccountID, in conversation: ConversationID, now: Date) {
        guard conversation == open?.id, account != me else { return }
        typing[account] = now
    }

    /// Forgets those who stopped typing. Returns whether there were any.
    mutating func expireTyping(now: Date) -> Bool {
        let before = typing.count
        typing = typing.filter { now.timeIntervalSince($0.value) < Self.typingSeconds }
        return typing.count != before
    }

    mutating func enqueued(_ clientID: String, in conversation: ConversationID) { unsent[clientID] = conversation }
    mutating func answered(_ clientID: String) { unsent[clientID] = nil }

    /// How far the last message of this account in the open conversation is.
    var progress: Progress {
        guard let open else { return .nothingSent }
        let waiting = unsent.values.count { $0 == open.id }
        if waiting > 0 { return .sending(waiting) }
        guard open.lastOwn > 0 else { return .nothingSent }
        let readers = open.marks.values.count { $0.read >= open.lastOwn }
        if readers > 0 { return .read(by: readers, of: open.marks.count) }
        return open.marks.values.contains { $0.delivered >= open.lastOwn } ? .delivered : .sent
    }

    var unreadElsewhere: Int { unread.values.reduce(0, +) }
}
