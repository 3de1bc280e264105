#if Cluster
/// What MySQL has beside the portable schema: the table of the log, shaped for many writing nodes.
enum MySQLSchema {
    static var version: Int { Schema.version }

    /// A table that is there from the beginning of a migration of a single node's data into the database to its end. It holds one row:
    /// what the data of the source are known by.
    static let unfinishedMigration = "unfinished_migration"

    /// - Parameter collation: of all text; see ``MySQLMigrator``.
    static func migrations(collation: String) -> [Migration] {
        Schema.migrations.map { migration in
            let statements = migration.statements.map { dialect($0, collation) }
            return Migration(version: migration.version, statements: statements + (log(collation)[migration.version] ?? []))
        }
    }

    /// A TEXT of MySQL ends at 64 kB; and what compares text is said with the table.
    private static func dialect(_ statement: String, _ collation: String) -> String {
        let statement = statement.replacing(" TEXT ", with: " MEDIUMTEXT ")
        return statement.hasPrefix("CREATE TABLE") ? "\(statement) \(table(collation))" : statement
    }

    private static func table(_ collation: String) -> String { "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE \(collation)" }

    /// By the version that brings them.
    private static func log(_ collation: String) -> [Int: [String]] {
        [
            1: [
                // The last entry that changed who is a member; 0: nobody came or left since the conversation was made.
                "ALTER TABLE conversation ADD COLUMN roster_seq BIGINT NOT NULL DEFAULT 0",
                """
                CREATE TABLE entry (
                    conversation BIGINT NOT NULL,
                    seq BIGINT NOT NULL,
                    id BIGINT NOT NULL,
                    sender BIGINT NOT NULL,
                    client_id VARCHAR(255) NOT NULL,
                    at BIGINT NOT NULL,
                    kind VARCHAR(255) NOT NULL,
                    body MEDIUMTEXT NOT NULL,
                    PRIMARY KEY (conversation, seq)
                ) \(table(collation))
                """,
                // The client's id before the sender: ids that grow with time then go to one place of a conversation, not to one for
                // each sender.
                "CREATE UNIQUE INDEX entry_by_name ON entry (conversation, client_id, sender)",
            ]
        ]
    }
}

/// Brings the tables of a database forward.
struct MySQLMigrator {
    let configuration: MySQLConfiguration
    /// Whether the tables may hold a part of a single node's data, which nobody but the migration may use.
    var allowsUnfinishedMigration = false

    /// What the statements of a step say when they were run before: MySQL commits each on its own, so a node that is killed
    /// half-way leaves a part of a step behind. Table, column, key and row exist.
    private static let doneBefore: Set<UInt32> = [1050, 1060, 1061, 1062]
    private static let lockTimeout = 120

    /// Blocks. Any number of nodes may do this at the same time; one of them does the work.
    func run() throws {
        do {
            let connection = try MySQLConnection(configuration, .migration)
            let lock = "CONCAT('apus.schema.', DATABASE())"
            guard try connection.integer("SELECT GET_LOCK(\(lock), \(Self.lockTimeout))") == 1 else {
                throw StoreOpenError(.unreachable, configuration.description, "another node has been migrating the tables for too long")
            }
            // The lock ends with the connection.
            try migrate(connection)
        } catch let failure as MySQLFailure {
            throw failure.openError(configuration)
        }
    }

    private func migrate(_ connection: MySQLConnection) throws {
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
        if try connection.integer("\(tables) AND table_name = 'schema_version'") == 0 {
            guard try connection.integer(tables) == 0 else {
                throw StoreOpenError(.unusable, configuration.description, "the database holds tables of another program")
            }
            try connection.run("CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)")
        }
        let version = Int(try connection.integer("SELECT COALESCE(MAX(version), 0) FROM schema_version") ?? 0)
        // A step leaves the nodes of the version before it able to work, so that nodes are replaced one after the other.
        guard version <= MySQLSchema.version + 1 else {
            throw StoreOpenError(
                .newerSchema, configuration.description,
                "the database has schema \(version), this version of Apus knows up to \(MySQLSchema.version)")
        }
        if !allowsUnfinishedMigration { try Self.refuseUnfinishedMigration(connection, configuration) }
        for migration in MySQLSchema.migrations(collation: try collation(connection)) where migration.version > version {
            for statement in migration.statements { try apply(statement, connection) }
            try connection.run(
                "INSERT INTO schema_version (version, applied_at) VALUES (\(migration.version), \(MySQLDriver.nowMilliseconds))")
            try connection.run("COMMIT")
        }
    }

    /// Nobody but the migration may use tables that hold a part of a single node's data.
    /// - Throws: ``StoreOpenError`` `unusable`.
    static func refuseUnfinishedMigration(_ connection: MySQLConnection, _ configuration: MySQLConfiguration) throws {
        let query = """
            SELECT COUNT(*) FROM information_schema.tables
            WHERE table_schema = DATABASE() AND table_name = '\(MySQLSchema.unfinishedMigration)'
            """
        guard try connection.integer(query) == 0 else {
            throw StoreOpenError(
                .unusable, configuration.description,
                "the migration of a single node's data into it is not finished. Run the same apus migrate again, to its end")
        }
    }

    private func apply(_ statement: String, _ connection: MySQLConnection) throws {
        do throws(MySQLFailure) {
            try connection.run(statement)
        } catch  where Self.doneBefore.contains(error.code) {
            return
        }
    }

    /// Byte by byte, and with spaces at the end: `utf8mb4_bin` takes "a" and "a " for the same, and so would a unique key. MySQL and
    /// MariaDB have the one that is needed under different names.
    private func collation(_ connection: MySQLConnection) throws -> String {
        for name in ["utf8mb4_0900_bin", "utf8mb4_nopad_bin"]
        where try connection.integer("SELECT COUNT(*) FROM information_schema.collations WHERE collation_name = '\(name)'") != 0 {
            return name
        }
        throw StoreOpenError(
            .unusable, configuration.description,
            "the server has neither the collation utf8mb4_0900_bin (MySQL 8, TiDB 7.4) nor utf8mb4_nopad_bin (MariaDB 10.2)")
    }
}

extension MySQLFailure {
    /// What it is to whoever opens the store.
    func openError(_ configuration: MySQLConfiguration) -> StoreOpenError {
        StoreOpenError(kind == .connection ? .unreachable : .unusable, configuration.description, description)
    }
}

extension MySQLConnection {
    /// The integer that a statement answers.
    func integer(_ sql: String) throws -> Int64? {
        guard let row = try statement(sql).rows([]).first, !row.isNull(0) else { return nil }
        return try row.integer(0)
    }
}
#endif
