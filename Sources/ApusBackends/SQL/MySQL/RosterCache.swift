#if Cluster
import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers

/// Rosters that were read or written before.
///
/// Whoever comes or goes does so with an entry, and `conversation.roster_seq` is the last such entry; so a roster is a matter of
/// conversation and `roster_seq`, whichever node it was made on, and never gets wrong. What is asked each time is the
/// column: an append reads it in the row that it has locked, other readers in their snapshot, the members in the same one.
final class RosterCache: Sendable {
    private let rosters: NIOLockedValueBox<BoundedCache<ConversationID, Roster>>

    init(costMax: Int) {
        rosters = NIOLockedValueBox(BoundedCache(costMax: costMax) { $0.members.count + 6 })
    }

    func insert(_ roster: Roster, of id: ConversationID) { rosters.withLockedValue { $0.insert(roster, for: id) } }

    /// Those of conversations that exist, with their `roster_seq`; the ones that are not known are read at once.
    func rosters(of conversations: [(ConversationID, rosterSeq: Seq)], _ session: MySQLSession) throws -> [ConversationID: Roster] {
        var found: [ConversationID: Roster] = [:]
        var missing: [ConversationID: Seq] = [:]
        rosters.withLockedValue { cached in
            for (id, rosterSeq) in conversations {
                // The members of a conversation that nobody came to or left are there from entry 1 on.
                let rosterSeq = max(1, rosterSeq)
                if let roster = cached.value(for: id), roster.audience.rosterSeq == rosterSeq {
                    found[id] = roster
                } else {
                    missing[id] = rosterSeq
                }
            }
        }
        guard !missing.isEmpty else { return found }
        var members: [ConversationID: [Member]] = [:]
        let places = missing.keys.sorted().paddedToPowerOfTwo
        let rows = try session.rows(
            """
            SELECT account, joined_seq, role, conversation FROM membership
            WHERE conversation IN (\(places.marks)) AND left_seq IS NULL
            """, values: places.map(SQLValue.id))
        for row in rows { members[try row.id(3), default: []].append(try Member(row)) }
        for (id, rosterSeq) in missing {
            let roster = Roster(members[id] ?? [], changed: rosterSeq)
            found[id] = roster
            insert(roster, of: id)
        }
        return found
    }
}
#endif
