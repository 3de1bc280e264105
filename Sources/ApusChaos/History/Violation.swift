import ApusProtocol

/// A promise of the delivery contract that a history shows to be broken.
public enum Violation: Hashable, Sendable {
    // C1: what is acknowledged, or was seen, stays.
    case lost(History.EntryName, acknowledged: String)
    case seenButNotInLog(reader: String, ConversationID, Seq)
    case resetWithoutCause(reader: String, ConversationID, first: Seq)
    // C2: one log, without a gap, the same for everybody.
    case gap(ConversationID, expected: Seq, found: Seq)
    case noLog(ConversationID)
    case invented(ConversationID, Seq)
    case readerDiffers(reader: String, ConversationID, Seq)
    case idTwice(EntryID)
    // C3: one name, one entry, one acknowledgement.
    case doubled(History.EntryName, [Seq])
    case acknowledgementsDiffer(History.EntryName)
    case acknowledgementNotAsInLog(History.EntryName, acknowledged: String, log: History.Place)
    case conflictAccepted(History.EntryName)
    case refusedButStored(History.EntryName, Seq)
    // C4: the order of one session.
    case reordered(session: String, first: History.EntryName, at: Seq, second: History.EntryName, Seq)
    // C5: each entry once and in order, what was missed included.
    case seenTwice(reader: String, ConversationID, Seq)
    case seenOutOfOrder(reader: String, ConversationID, Seq, after: Seq)
    case missed(reader: String, ConversationID, ClosedRange<Seq>)
    // C7: only members.
    case seenOutsideMembership(reader: String, AccountID, ConversationID, Seq)
    case sentOutsideMembership(AccountID, ConversationID, Seq)
    /// Not the server's fault: two names of a sender have the same content, so entries cannot be told apart.
    case unusableHistory(String)

    /// The line of the contract; nil when the history is at fault.
    public var promise: Int? {
        switch self {
        case .lost, .seenButNotInLog, .resetWithoutCause: 1
        case .gap, .noLog, .invented, .readerDiffers, .idTwice: 2
        case .doubled, .acknowledgementsDiffer, .acknowledgementNotAsInLog, .conflictAccepted, .refusedButStored: 3
        case .reordered: 4
        case .seenTwice, .seenOutOfOrder, .missed: 5
        case .seenOutsideMembership, .sentOutsideMembership: 7
        case .unusableHistory: nil
        }
    }
}

extension Violation: CustomStringConvertible {
    public var description: String {
        let promise = promise.map { "C\($0)" } ?? "history"
        return "\(promise): \(sentence)"
    }

    private var sentence: String {
        switch self {
        case .lost(let name, let place): "lost: \(name), acknowledged as \(place)"
        case .seenButNotInLog(let reader, let conversation, let seq): "lost: \(reader) saw seq \(seq) of \(conversation), which is gone"
        case .resetWithoutCause(let reader, let conversation, let first):
            "\(reader) was told to start \(conversation) over at \(first) although nothing was removed"
        case .gap(let conversation, let expected, let found): "gap: seq \(expected) of \(conversation) is missing before \(found)"
        case .noLog(let conversation): "no log of \(conversation)"
        case .invented(let conversation, let seq): "invented: nobody sent seq \(seq) of \(conversation)"
        case .readerDiffers(let reader, let conversation, let seq): "\(reader) saw another entry at seq \(seq) of \(conversation)"
        case .idTwice(let id): "two entries have the id \(id)"
        case .doubled(let name, let seqs): "doubled: \(name) is at \(seqs)"
        case .acknowledgementsDiffer(let name): "two acknowledgements of \(name) differ"
        case .acknowledgementNotAsInLog(let name, let acknowledged, let log): "\(name) was acknowledged as \(acknowledged) and is \(log)"
        case .conflictAccepted(let name): "\(name) was acknowledged with two contents"
        case .refusedButStored(let name, let seq): "\(name) was refused and is at seq \(seq)"
        case .reordered(let session, let first, let at, let second, let seq):
            "re-ordered: \(session) sent \(first), now seq \(at), before \(second), now seq \(seq)"
        case .seenTwice(let reader, let conversation, let seq): "\(reader) saw seq \(seq) of \(conversation) twice"
        case .seenOutOfOrder(let reader, let conversation, let seq, let after):
            "\(reader) saw seq \(seq) of \(conversation) after \(after)"
        case .missed(let reader, let conversation, let range): "\(reader) missed \(range) of \(conversation)"
        case .seenOutsideMembership(let reader, let account, let conversation, let seq):
            "\(reader) (account \(account)) saw seq \(seq) of \(conversation) and was not a member"
        case .sentOutsideMembership(let account, let conversation, let seq):
            "account \(account) wrote seq \(seq) of \(conversation) and was not a member"
        case .unusableHistory(let reason): reason
        }
    }
}
