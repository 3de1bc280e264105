/// What SQLite has beside the portable schema: the tables of the log, shaped for one writing process.
enum SQLiteSchema {
    static let migrations = Schema.migrations.map { migration in
        Migration(version: migration.version, statements: migration.statements + (log[migration.version] ?? []))
    }

    static var version: Int { Schema.version }

    /// By the version that brings them.
    private static let log: [Int: [String]] = [
        1: LogTables.schema
    ]
}
