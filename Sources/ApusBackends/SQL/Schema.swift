/// One step of the schema. A step that has been released is never edited: a change is a new step.
struct Migration: Sendable {
    /// The version of the schema after this step; versions count up from 1.
    var version: Int
    var statements: [String]
}

/// The schema in portable SQL: no auto-increment, no foreign keys; keys lead with the account or conversation that would shard
/// the table. Numbers are 64 bits, times Unix milliseconds.
enum Schema {
    static let migrations = [
        Migration(version: 1, statements: accounts + devices + signingKeys + conversations + schedule),
        Migration(version: 2, statements: nodeLeases),
        Migration(version: 3, statements: secondUses + departures),
    ]

    static var version: Int { migrations.last?.version ?? 0 }

    private static let accounts = [
        // A deleted account keeps its row: its username stays taken.
        """
        CREATE TABLE account (
            id BIGINT NOT NULL PRIMARY KEY,
            username VARCHAR(255) NOT NULL,
            display_name TEXT NOT NULL,
            avatar TEXT NOT NULL,
            bio TEXT NOT NULL,
            password_hash TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            deleted_at BIGINT
        )
        """,
        "CREATE UNIQUE INDEX account_by_username ON account (username)",
    ]

    private static let devices = [
        """
        CREATE TABLE device (
            id BIGINT NOT NULL PRIMARY KEY,
            account BIGINT NOT NULL,
            name TEXT NOT NULL,
            platform TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            last_seen_at BIGINT NOT NULL,
            revoked_at BIGINT
        )
        """,
        "CREATE INDEX device_by_account ON device (account, created_at, id)",
        """
        CREATE TABLE refresh_token (
            hash VARBINARY(64) NOT NULL PRIMARY KEY,
            device BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            used_at BIGINT
        )
        """,
        "CREATE INDEX refresh_token_by_device ON refresh_token (device)",
    ]

    private static let secondUses = [
        // The hash of the token that this one was used up for: see `DeviceStore.rotate`. Null in a token that an older version used up.
        "ALTER TABLE refresh_token ADD COLUMN successor VARBINARY(64)"
    ]

    private static let departures = [
        // When the last conversation of a deleted account was left. Null in a deleted account: there is something to do still, so
        // that accounts which an older version deletes are found as well.
        "ALTER TABLE account ADD COLUMN departed_at BIGINT",
        "CREATE INDEX account_by_departure ON account (departed_at, deleted_at)",
    ]

    private static let signingKeys = [
        // `generation` makes a race of two nodes to add the next key fail for one of them.
        """
        CREATE TABLE signing_key (
            generation BIGINT NOT NULL PRIMARY KEY,
            id VARCHAR(255) NOT NULL,
            private_pem TEXT NOT NULL,
            created_at BIGINT NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX signing_key_by_id ON signing_key (id)",
    ]

    private static let conversations = [
        // `head` and `moved` (the log position of the head) may lag behind the log: see the store that writes them.
        """
        CREATE TABLE conversation (
            id BIGINT NOT NULL PRIMARY KEY,
            kind VARCHAR(16) NOT NULL,
            title TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            member_count BIGINT NOT NULL,
            head BIGINT NOT NULL,
            moved BIGINT NOT NULL
        )
        """,
        "CREATE INDEX conversation_by_moved ON conversation (moved)",
        """
        CREATE TABLE direct_conversation (
            low_account BIGINT NOT NULL,
            high_account BIGINT NOT NULL,
            conversation BIGINT NOT NULL,
            PRIMARY KEY (low_account, high_account)
        )
        """,
        // One row per stay: a member who comes back has a second row. `left_seq` is null for a present member.
        """
        CREATE TABLE membership (
            conversation BIGINT NOT NULL,
            account BIGINT NOT NULL,
            joined_seq BIGINT NOT NULL,
            left_seq BIGINT,
            role VARCHAR(16) NOT NULL,
            PRIMARY KEY (conversation, account, joined_seq)
        )
        """,
        "CREATE INDEX membership_by_account ON membership (account, conversation, joined_seq)",
        """
        CREATE TABLE mark (
            conversation BIGINT NOT NULL,
            account BIGINT NOT NULL,
            read_seq BIGINT NOT NULL,
            delivered_seq BIGINT NOT NULL,
            PRIMARY KEY (conversation, account)
        )
        """,
    ]

    private static let schedule = [
        """
        CREATE TABLE scheduled_entry (
            id BIGINT NOT NULL PRIMARY KEY,
            conversation BIGINT NOT NULL,
            sender BIGINT NOT NULL,
            client_id VARCHAR(255) NOT NULL,
            kind VARCHAR(255) NOT NULL,
            body TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            deliver_at BIGINT NOT NULL
        )
        """,
        "CREATE UNIQUE INDEX scheduled_entry_by_name ON scheduled_entry (conversation, sender, client_id)",
        "CREATE INDEX scheduled_entry_by_time ON scheduled_entry (deliver_at, id)",
        "CREATE INDEX scheduled_entry_by_sender ON scheduled_entry (sender)",
    ]

    private static let nodeLeases = [
        // All numbers that there are, so that to take one is to change a row. It is free when `expires_at` is over.
        """
        CREATE TABLE node_lease (
            node BIGINT NOT NULL PRIMARY KEY,
            epoch BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            ids_through BIGINT NOT NULL
        )
        """,
        "INSERT INTO node_lease (node, epoch, expires_at, ids_through) VALUES "
            + (0..<1024).map { "(\($0), 0, 0, 0)" }.joined(separator: ", "),
    ]
}
