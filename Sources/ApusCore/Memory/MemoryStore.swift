import ApusProtocol
import NIOConcurrencyHelpers

/// All stores in the memory of this process: for tests, and to try things out. Nothing survives the process.
///
/// One lock guards everything, so every call is one transaction.
public final class MemoryStore: Sendable {
    struct State {
        var accounts: [AccountID: StoredAccount] = [:]
        var accountByUsername: [String: AccountID] = [:]
        var devices: [DeviceID: StoredDevice] = [:]
        var refreshTokens: [[UInt8]: StoredToken] = [:]
        /// Newest first.
        var signingKeys: [SigningKey] = []
        var conversations: [ConversationID: StoredConversation] = [:]
        var directConversations: [AccountPair: ConversationID] = [:]
        /// Conversations that the account is or was in.
        var conversationsByAccount: [AccountID: Set<ConversationID>] = [:]
        /// The conversation of each entry in the order of the log; the entry at index 0 has position 1.
        var order: [ConversationID] = []
        var scheduled: [EntryName: ScheduledEntry] = [:]
    }

    let state = NIOLockedValueBox(State())
    /// A group never has more members than this.
    let membersMax: Int

    public init(membersMax: Int = 20_000) { self.membersMax = membersMax }
}

struct StoredAccount {
    var account: Account
    var deletedAt: Timestamp?
    /// When it had left its conversations.
    var departedAt: Timestamp?
}

struct StoredDevice {
    var device: Device
    var revokedAt: Timestamp?
}

struct StoredToken {
    var device: DeviceID
    var expiresAt: Timestamp
    var usedAt: Timestamp?
    /// The token that it was used up for. Nil for one that was withdrawn.
    var successor: [UInt8]?
}

/// Two accounts, whichever is named first.
struct AccountPair: Hashable {
    var low: AccountID
    var high: AccountID

    init(_ first: AccountID, _ second: AccountID) {
        low = min(first, second)
        high = max(first, second)
    }
}

/// One membership from joining to leaving.
struct Stay {
    var joined: Seq
    var left: Seq?
}

struct StoredConversation {
    var state: ConversationState
    var entries: [Entry] = []
    /// Indices of `entries`.
    var named: [EntryName: Int] = [:]
    var stays: [AccountID: [Stay]] = [:]
    var marks: [AccountID: Mark] = [:]
    /// The position of the head.
    var moved = LogPosition.start

    func visibility(of account: AccountID) -> Visibility? {
        stays[account].map { Visibility(ranges: $0.map { $0.joined...($0.left ?? .max) }) }
    }

    /// The last seq that the account may see.
    func visibleHead(of account: AccountID) -> Seq { visibility(of: account)?.head(of: state.head) ?? 0 }
}
