#if Cluster
/// A table as it moves from a single node to a cluster: the columns that it has in the cluster, and where the single node has them.
/// Rows are read, written and compared in the order of the key.
struct MigrationTable: Sendable {
    enum Source: Sendable {
        /// The table of the same name.
        case table
        /// What stands between the brackets of `FROM (…)`.
        case query(String)
        /// The log: entries and their names, which SQLite has in tables of their own.
        case log
    }

    var name: String
    /// The primary key, in its order.
    var key: [String]
    /// The other columns.
    var rest: [String]
    var source: Source = .table

    var columns: [String] { key + rest }
}

extension MigrationTable {
    /// Every table of the schema. The one with most rows comes late: what is refused is refused soon. `node_lease`, whose rows are there
    /// from the beginning, is not among them.
    static let copied = [
        signingKeys,
        MigrationTable(
            name: "account", key: ["id"],
            rest: ["username", "display_name", "avatar", "bio", "password_hash", "created_at", "deleted_at", "departed_at"]),
        MigrationTable(
            name: "device", key: ["id"], rest: ["account", "name", "platform", "created_at", "last_seen_at", "revoked_at"]),
        MigrationTable(name: "refresh_token", key: ["hash"], rest: ["device", "expires_at", "used_at", "successor"]),
        MigrationTable(
            name: "conversation", key: ["id"],
            rest: ["kind", "title", "created_at", "member_count", "head", "moved", "roster_seq"], source: .query(conversations)),
        MigrationTable(name: "direct_conversation", key: ["low_account", "high_account"], rest: ["conversation"]),
        MigrationTable(name: "membership", key: ["conversation", "account", "joined_seq"], rest: ["left_seq", "role"]),
        MigrationTable(name: "mark", key: ["conversation", "account"], rest: ["read_seq", "delivered_seq"]),
        MigrationTable(
            name: "scheduled_entry", key: ["id"],
            rest: ["conversation", "sender", "client_id", "kind", "body", "created_at", "deliver_at"]),
        MigrationTable(
            name: "entry", key: ["conversation", "seq"], rest: ["id", "sender", "client_id", "at", "kind", "body"], source: .log),
    ]

    static let signingKeys = MigrationTable(name: "signing_key", key: ["generation"], rest: ["id", "private_pem", "created_at"])

    /// With every number's epoch and the bound of its ids: the cluster's nodes go on behind them, so no id is given out twice.
    static let nodeLeases = MigrationTable(name: "node_lease", key: ["node"], rest: ["epoch", "expires_at", "ids_through"])

    static let all = copied + [nodeLeases]

    /// What a position of SQLite, a count of entries, is multiplied with to be one of MySQL, a time in microseconds: `moved` keeps its
    /// order, every head its own stamp, all of them long past. A tenth of a second, so that the few seconds that a sweep looks back from
    /// the newest stamp hold some 50 heads and not every conversation there is; a client's old position finds all heads after it.
    static let microsecondsPerPosition = 100_000

    /// With the heads of entries that are in the commit log only, and with the last entry that changed the members, which SQLite
    /// finds when it needs it and MySQL keeps.
    static let conversations = """
        SELECT c.id AS id, kind, title, created_at, member_count, MAX(c.head, COALESCE(l.head, 0)) AS head,
            MAX(c.moved, COALESCE(l.moved, 0)) * \(microsecondsPerPosition) AS moved,
            (SELECT COALESCE(MAX(MAX(joined_seq, COALESCE(left_seq, 0))), 0) FROM membership WHERE conversation = c.id) AS roster_seq
        FROM conversation c LEFT JOIN (
            SELECT conversation, MAX(seq) AS head, MAX(position) AS moved FROM entry_log GROUP BY conversation
        ) l ON l.conversation = c.id
        """
}
#endif
