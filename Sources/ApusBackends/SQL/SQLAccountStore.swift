import ApusCore
import ApusProtocol

/// ``AccountStore`` over any SQL database.
struct SQLAccountStore<Driver: SQLDriver>: AccountStore {
    let driver: Driver

    private static var columns: String { "id, username, display_name, avatar, bio, password_hash, created_at" }

    func create(_ account: Account) async throws {
        do {
            try await driver.write { session in
                try session.execute(
                    "INSERT INTO account (\(Self.columns)) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    .id(account.id), .text(account.username), .text(account.displayName), .text(account.avatar), .text(account.bio),
                    .text(account.passwordHash), .time(account.createdAt))
            }
        } catch let violation as SQLUniqueViolation {
            throw ApusError(.conflict, "the username is taken", cause: violation)
        }
    }

    func account(_ id: AccountID) async throws -> Account? {
        try await driver.read { session in
            try session.row("SELECT \(Self.columns) FROM account WHERE id = ? AND deleted_at IS NULL", .id(id)).map(Self.account)
        }
    }

    func account(username: String) async throws -> Account? {
        try await driver.read { session in
            try session.row("SELECT \(Self.columns) FROM account WHERE username = ? AND deleted_at IS NULL", .text(username))
                .map(Self.account)
        }
    }

    func accounts(_ ids: [AccountID]) async throws -> [Account] {
        guard !ids.isEmpty else { return [] }
        guard ids.count <= 1000 else { throw ApusError(.invalidArgument, "more than 1,000 accounts at once") }
        var wanted = Set(ids).sorted()
        // A power of two of places, the last one repeated: a handful of statements to prepare instead of a thousand.
        while wanted.count & (wanted.count - 1) != 0, let last = wanted.last { wanted.append(last) }
        let values = wanted.map(SQLValue.id)
        let places = repeatElement("?", count: values.count).joined(separator: ", ")
        return try await driver.read { session in
            try session.rows(
                "SELECT \(Self.columns) FROM account WHERE id IN (\(places)) AND deleted_at IS NULL", values: values
            ).map(Self.account)
        }
    }

    func accounts(usernamePrefix prefix: String, limit: Int) async throws -> [Account] {
        // A range instead of LIKE: nothing in the prefix has a meaning, and the index serves it.
        try await driver.read { session in
            try session.rows(
                """
                SELECT \(Self.columns) FROM account WHERE username >= ? AND username < ? AND deleted_at IS NULL
                ORDER BY username LIMIT ?
                """,
                .text(prefix), .text(prefix + "\u{10FFFF}"), .count(max(0, limit))
            ).map(Self.account)
        }
    }

    func update(_ account: Account) async throws {
        try await driver.write { session in
            try session.execute(
                "UPDATE account SET display_name = ?, avatar = ?, bio = ? WHERE id = ? AND deleted_at IS NULL",
                .text(account.displayName), .text(account.avatar), .text(account.bio), .id(account.id))
        }
    }

    func setPasswordHash(_ hash: String, replacing old: String, of id: AccountID) async throws -> Bool {
        try await driver.write { session in
            try session.execute(
                "UPDATE account SET password_hash = ? WHERE id = ? AND password_hash = ? AND deleted_at IS NULL",
                .text(hash), .id(id), .text(old)) > 0
        }
    }

    func delete(_ id: AccountID, at time: Timestamp) async throws {
        try await driver.write { session in
            try session.execute("UPDATE account SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL", .time(time), .id(id))
        }
    }

    func departing(after: AccountID?, limit: Int) async throws -> [AccountID] {
        try await driver.read { session in
            try session.rows(
                "SELECT id FROM account WHERE departed_at IS NULL AND deleted_at IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
                .after(after), .count(max(0, limit))
            ).map { try $0.id(0) }
        }
    }

    func setDeparted(_ id: AccountID, at time: Timestamp) async throws {
        try await driver.write { session in
            try session.execute("UPDATE account SET departed_at = ? WHERE id = ? AND deleted_at IS NOT NULL", .time(time), .id(id))
        }
    }

    private static func account(_ row: SQLRow) throws -> Account {
        Account(
            id: try row.id(0), username: try row.text(1), displayName: try row.text(2), avatar: try row.text(3), bio: try row.text(4),
            passwordHash: try row.text(5), createdAt: try row.time(6))
    }
}
