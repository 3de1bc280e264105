import ApusCore
import ApusProtocol

/// ``SigningKeyStore`` over any SQL database.
struct SQLSigningKeyStore<Driver: SQLDriver>: SigningKeyStore {
    let driver: Driver

    func signingKeys() async throws -> [SigningKey] {
        try await driver.read { session in
            try session.rows("SELECT id, private_pem, created_at FROM signing_key ORDER BY generation DESC").map { row in
                SigningKey(id: try row.text(0), privatePEM: try row.text(1), createdAt: try row.time(2))
            }
        }
    }

    func add(_ key: SigningKey, replacing expected: String?) async throws -> Bool {
        do {
            return try await driver.write { session in
                let newest = try session.row("SELECT id, generation FROM signing_key ORDER BY generation DESC LIMIT 1")
                guard try newest?.text(0) == expected else { return false }
                try session.execute(
                    "INSERT INTO signing_key (generation, id, private_pem, created_at) VALUES (?, ?, ?, ?)",
                    .integer((try newest?.integer(1) ?? 0) + 1), .text(key.id), .text(key.privatePEM), .time(key.createdAt))
                return true
            }
        } catch is SQLUniqueViolation {
            // Another node added the same generation, or this very key.
            return false
        }
    }

    func remove(_ ids: [String]) async throws {
        try await driver.write { session in
            for id in ids { try session.execute("DELETE FROM signing_key WHERE id = ?", .text(id)) }
        }
    }
}
