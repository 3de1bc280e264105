/// What SQLite has beside the portable schema: the tables of the log, shaped for one writing process.
enum SQLiteSchema {
    static let migrations = Schema.migrations.map { migration in
        Migration(version: migration.version, statements: migration.statements + (log[migration.version] ?? []))
    }

    static var version: Int { Schema.version }

    /// The tables that grow with every entry.
    static let logTables: Set<String> = ["entry"]

    /// By the version that brings them.
    private static let log: [Int: [String]] = [
        1: [
            """
            CREATE TABLE entry (
                position INTEGER PRIMARY KEY,
                conversation INTEGER NOT NULL,
                seq INTEGER NOT NULL,
                sender INTEGER NOT NULL,
                client_id TEXT NOT NULL,
                id INTEGER NOT NULL,
                at INTEGER NOT NULL,
                kind TEXT NOT NULL,
                body TEXT NOT NULL
            )
            """,
            "CREATE UNIQUE INDEX entry_by_seq ON entry (conversation, seq)",
            "CREATE UNIQUE INDEX entry_by_name ON entry (conversation, sender, client_id)",
        ]
    ]
}
