#if Cluster
import ApusProtocol

/// The database that a single node's data move into, on one connection, which keeps other migrations off it. For one thread.
///
/// Pages are written in the order of the key, each in a transaction; so the highest key that is there says how far a migration got
/// before it was killed.
final class MigrationTarget {
    enum State: Hashable {
        /// No node has ever run on it.
        case empty
        /// `source`: what the migration that is under way here knows its source by; nil: it was killed before it noted that.
        case unfinished(source: String?)
        /// There are data.
        case used
    }

    private let configuration: MySQLConfiguration
    private let connection: MySQLConnection
    private static let rowsInStatementMax = 256

    init(_ configuration: MySQLConfiguration) throws {
        self.configuration = configuration
        connection = try MySQLConnection(configuration, .migration)
        // The lock ends with the connection, which is idle while the source is read.
        try connection.run("SET SESSION wait_timeout = 86400")
        guard try connection.integer("SELECT GET_LOCK(CONCAT('apus.migration.', DATABASE()), 0)") == 1 else {
            throw refusal("another migration into it is running")
        }
    }

    func refusal(_ why: String) -> StoreOpenError { StoreOpenError(.unusable, configuration.description, why) }

    // MARK: State

    /// Changes nothing.
    /// - Throws: ``StoreOpenError`` when the tables are those of another program or of a newer version.
    func state() throws -> State {
        let tables = try tableNames()
        guard !tables.isEmpty else { return .empty }
        guard tables.contains("schema_version") else { throw refusal("the database holds tables of another program. Nothing was changed") }
        let version = try connection.integer("SELECT COALESCE(MAX(version), 0) FROM schema_version") ?? 0
        guard version <= MySQLSchema.version else {
            throw StoreOpenError(
                .newerSchema, configuration.description,
                "the database has schema \(version), this version of Apus knows up to \(MySQLSchema.version)")
        }
        if tables.contains(MySQLSchema.unfinishedMigration) {
            let row = try rows("SELECT source FROM \(MySQLSchema.unfinishedMigration)").first
            return .unfinished(source: try row?.text(0))
        }
        for table in MigrationTable.copied where tables.contains(table.name) {
            if try !rows("SELECT 1 FROM \(table.name) LIMIT 1").isEmpty { return .used }
        }
        let hasLeases = tables.contains(MigrationTable.nodeLeases.name)
        return try hasLeases && !rows("SELECT 1 FROM node_lease WHERE epoch <> 0 LIMIT 1").isEmpty ? .used : .empty
    }

    /// Makes the tables, and the one that keeps nodes from starting until ``finish()``.
    func begin(source: String) throws {
        try MySQLMigrator(configuration: configuration, allowsUnfinishedMigration: true).run()
        try connection.run(
            "CREATE TABLE IF NOT EXISTS \(MySQLSchema.unfinishedMigration) (source VARCHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY)")
        try write("INSERT INTO \(MySQLSchema.unfinishedMigration) (source) VALUES (?)", [.text(source)])
        try connection.run("COMMIT")
    }

    func finish() throws { try connection.run("DROP TABLE \(MySQLSchema.unfinishedMigration)") }

    private func tableNames() throws -> Set<String> {
        Set(
            try rows("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()").map { try $0.text(0).lowercased() }
        )
    }

    // MARK: Writing

    func highestKey(of table: MigrationTable) throws -> [SQLValue]? {
        let order = table.key.map { "\($0) DESC" }.joined(separator: ", ")
        return try rows("SELECT \(table.key.joined(separator: ", ")) FROM \(table.name) ORDER BY \(order) LIMIT 1").first?.values
    }

    /// In one transaction.
    func insert(_ page: [SQLRow], into table: MigrationTable) throws {
        try insertRows(page, into: table)
        try connection.run("COMMIT")
    }

    /// In one transaction: all rows in place of those that are there. They must be those of a database on which no node has run, or the
    /// same ones.
    func replaceNodeLeases(with leases: [SQLRow]) throws {
        let table = MigrationTable.nodeLeases
        let wanted = Dictionary(leases.map { ($0.values[0], $0.values) }) { first, _ in first }
        let columns = table.columns.joined(separator: ", ")
        for row in try connection.statement("SELECT \(columns) FROM \(table.name) FOR UPDATE").rows([]) {
            let isUnused = row.values.dropFirst().allSatisfy { $0 == .integer(0) }
            guard isUnused || wanted[row.values[0]] == row.values else {
                try connection.run("ROLLBACK")
                throw refusal("a node has run on the database while the migration was under way. Make it anew and begin again")
            }
        }
        try write("DELETE FROM \(table.name)", [])
        try insertRows(leases, into: table)
        try connection.run("COMMIT")
    }

    /// In statements of 256, 128, 64 … rows: few round trips, and few statements to prepare.
    private func insertRows(_ page: [SQLRow], into table: MigrationTable) throws {
        var rest = page[...]
        var size = Self.rowsInStatementMax
        let row = "(\(table.columns.map { _ in "?" }.joined(separator: ", ")))"
        while !rest.isEmpty {
            while size > rest.count { size /= 2 }
            let rows = repeatElement(row, count: size).joined(separator: ", ")
            try write(
                "INSERT INTO \(table.name) (\(table.columns.joined(separator: ", "))) VALUES \(rows)",
                rest.prefix(size).flatMap(\.values))
            rest = rest.dropFirst(size)
        }
    }

    private func write(_ sql: String, _ values: [SQLValue]) throws { _ = try connection.statement(sql).execute(values) }

    // MARK: Reading

    func count(of table: MigrationTable) throws -> Int {
        Int(try rows("SELECT COUNT(*) FROM \(table.name)").first?.integer(0) ?? 0)
    }

    /// All rows, one by one, read in pages of about 4 MB.
    func rows(of table: MigrationTable) -> () throws -> SQLRow? {
        var page: [SQLRow] = []
        var next = 0
        var limit = 128
        var isLast = false
        return { [self] in
            if next == page.count {
                guard !isLast else { return nil }
                page = try self.page(of: table, after: page.last.map { Array($0.values.prefix(table.key.count)) }, limit: limit)
                next = 0
                isLast = page.count < limit
                let size = page.reduce(1) { $0 + $1.size }
                limit = min(max(1, MigrationPage.bytesMax / max(1, size / max(1, page.count))), MigrationPage.rowsMax)
            }
            guard next < page.count else { return nil }
            next += 1
            return page[next - 1]
        }
    }

    private func page(of table: MigrationTable, after key: [SQLValue]?, limit: Int) throws -> [SQLRow] {
        let condition = key == nil ? "" : "WHERE \(Self.isAfter(table.key[...]))"
        let values = key.map { Self.values(forKey: $0[...]) } ?? []
        return try rows(
            """
            SELECT \(table.columns.joined(separator: ", ")) FROM \(table.name) FORCE INDEX (PRIMARY) \(condition)
            ORDER BY \(table.key.joined(separator: ", ")) LIMIT ?
            """, values + [.count(limit)])
    }

    /// `a > ? OR (a = ? AND (b > ?))`: MySQL finds no range of an index in `(a, b) > (?, ?)`.
    private static func isAfter(_ key: ArraySlice<String>) -> String {
        guard let first = key.first else { return "FALSE" }
        return key.count == 1 ? "\(first) > ?" : "\(first) > ? OR (\(first) = ? AND (\(isAfter(key.dropFirst()))))"
    }

    private static func values(forKey key: ArraySlice<SQLValue>) -> [SQLValue] {
        guard let first = key.first else { return [] }
        return key.count == 1 ? [first] : [first, first] + values(forKey: key.dropFirst())
    }

    /// Each read sees what is committed.
    private func rows(_ sql: String, _ values: [SQLValue] = []) throws -> [SQLRow] {
        let rows = try connection.statement(sql).rows(values)
        try connection.run("COMMIT")
        return rows
    }
}

/// What is written in one transaction, and about what is read at once.
struct MigrationPage {
    static let rowsMax = 2_048
    /// A larger row is a page of its own: a server takes packets of 16 MB and more.
    static let bytesMax = 4 << 20

    private(set) var rows: [SQLRow] = []
    private var bytes = 0

    func hasRoom(for row: SQLRow) -> Bool { rows.isEmpty || (rows.count < Self.rowsMax && bytes + row.size <= Self.bytesMax) }

    mutating func add(_ row: SQLRow) {
        rows.append(row)
        bytes += row.size
    }
}
#endif
