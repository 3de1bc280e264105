import ApusCore
import ApusProtocol

/// ``DeviceStore`` over any SQL database.
struct SQLDeviceStore<Driver: SQLDriver>: DeviceStore {
    let driver: Driver

    private static var columns: String { "d.id, d.account, d.name, d.platform, d.created_at, d.last_seen_at" }

    func create(_ device: Device, token: RefreshTokenRecord) async throws {
        do {
            try await driver.write { session in
                try session.execute(
                    "INSERT INTO device (id, account, name, platform, created_at, last_seen_at) VALUES (?, ?, ?, ?, ?, ?)",
                    .id(device.id), .id(device.account), .text(device.name), .text(device.platform), .time(device.createdAt),
                    .time(device.lastSeenAt))
                try Self.insert(token, of: device.id, session)
            }
        } catch let violation as SQLUniqueViolation {
            throw ApusError(.conflict, "the device or its token exists", cause: violation)
        }
    }

    func devices(of account: AccountID) async throws -> [Device] {
        try await driver.read { session in
            try session.rows(
                """
                SELECT \(Self.columns) FROM device d WHERE d.account = ? AND d.revoked_at IS NULL
                ORDER BY d.created_at, d.id LIMIT 1000
                """, .id(account)
            ).map(Self.device)
        }
    }

    func isActive(_ id: DeviceID) async throws -> Bool {
        try await driver.read { session in
            try session.row("SELECT 1 FROM device WHERE id = ? AND revoked_at IS NULL", .id(id)) != nil
        }
    }

    func rotate(
        _ old: [UInt8], to new: RefreshTokenRecord, at time: Timestamp, grace: Duration
    ) async throws -> RefreshRotation {
        let found = try await driver.read { session in
            try session.row("SELECT device FROM refresh_token WHERE hash = ?", .blob(old)).map { try $0.id(0, DeviceID.self) }
        }
        guard let device = found else { return .refused }
        do {
            return try await driver.write { session in
                // Locks the device: tokens of a family are used one after the other, and what is read after this is what is so.
                let locked = try session.execute(
                    "UPDATE device SET last_seen_at = last_seen_at WHERE id = ? AND revoked_at IS NULL", .id(device))
                return locked == 1 ? try Self.rotate(old, to: new, at: time, grace: grace, session) : .refused
            }
        } catch let violation as SQLUniqueViolation {
            throw ApusError(.conflict, "the new refresh token exists", cause: violation)
        }
    }

    func device(refreshToken hash: [UInt8]) async throws -> Device? {
        try await driver.read { session in
            try session.row(
                """
                SELECT \(Self.columns) FROM refresh_token t JOIN device d ON d.id = t.device
                WHERE t.hash = ? AND d.revoked_at IS NULL
                """, .blob(hash)
            ).map(Self.device)
        }
    }

    func revoke(_ ids: [DeviceID], of account: AccountID, at time: Timestamp) async throws -> [DeviceID] {
        try await driver.write { session in
            try ids.filter { try Self.end($0, of: account, at: time, session) }
        }
    }

    /// On a session that holds the device's lock.
    private static func rotate(
        _ old: [UInt8], to new: RefreshTokenRecord, at time: Timestamp, grace: Duration, _ session: Driver.Session
    ) throws -> RefreshRotation {
        let found = try session.row(
            """
            SELECT \(columns), t.used_at, t.successor FROM refresh_token t JOIN device d ON d.id = t.device
            WHERE t.hash = ? AND t.expires_at > ? AND d.revoked_at IS NULL
            """, .blob(old), .time(time))
        guard let row = found else { return .refused }
        var device = try device(row)
        let usedAt = row.isNull(6) ? nil : try row.time(6)
        if let usedAt {
            let isRepeat = try !row.isNull(7) && usedAt + grace > time && withdraw(row.blob(7), at: time, session)
            guard isRepeat else {
                // Of several who come second one ends the device; those after it find none.
                return try end(device.id, of: device.account, at: time, session) ? .reused(device) : .refused
            }
        }
        try session.execute(
            "UPDATE refresh_token SET used_at = ?, successor = ? WHERE hash = ?", .time(usedAt ?? time), .blob(new.hash), .blob(old))
        try session.execute("DELETE FROM refresh_token WHERE device = ? AND expires_at <= ?", .id(device.id), .time(time))
        try insert(new, of: device.id, session)
        device.lastSeenAt = max(device.lastSeenAt, time)
        try session.execute("UPDATE device SET last_seen_at = ? WHERE id = ?", .time(device.lastSeenAt), .id(device.id))
        return .rotated(device)
    }

    /// Makes a token that was never used count as used. False for one that was.
    private static func withdraw(_ hash: [UInt8], at time: Timestamp, _ session: Driver.Session) throws -> Bool {
        try session.execute("UPDATE refresh_token SET used_at = ? WHERE hash = ? AND used_at IS NULL", .time(time), .blob(hash)) == 1
    }

    /// Returns whether it was this call that ended the device.
    private static func end(_ id: DeviceID, of account: AccountID, at time: Timestamp, _ session: Driver.Session) throws -> Bool {
        let ended = try session.execute(
            "UPDATE device SET revoked_at = ? WHERE id = ? AND account = ? AND revoked_at IS NULL", .time(time), .id(id), .id(account))
        guard ended == 1 else { return false }
        try session.execute("DELETE FROM refresh_token WHERE device = ?", .id(id))
        return true
    }

    private static func insert(_ token: RefreshTokenRecord, of device: DeviceID, _ session: Driver.Session) throws {
        try session.execute(
            "INSERT INTO refresh_token (hash, device, expires_at) VALUES (?, ?, ?)", .blob(token.hash), .id(device), .time(token.expiresAt))
    }

    private static func device(_ row: SQLRow) throws -> Device {
        Device(
            id: try row.id(0), account: try row.id(1), name: try row.text(2), platform: try row.text(3), createdAt: try row.time(4),
            lastSeenAt: try row.time(5))
    }
}
