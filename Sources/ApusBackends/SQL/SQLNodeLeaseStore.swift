import ApusCore
import ApusProtocol

/// ``NodeLeaseStore`` over any SQL database.
struct SQLNodeLeaseStore<Driver: SQLDriver>: NodeLeaseStore {
    let driver: Driver

    /// So often somebody else may take the number that was found free.
    private static var triesMax: Int { 100 }

    func acquire(for duration: Duration) async throws -> NodeLease {
        for _ in 0..<Self.triesMax {
            if let lease = try await driver.write({ try Self.acquire(for: duration, $0) }) { return lease }
        }
        throw ApusError(.overloaded, "too many nodes want a number at once", retryAfterMilliseconds: 1000)
    }

    func renew(_ lease: NodeLease, for duration: Duration, idsThrough: UInt64) async throws -> NodeLease {
        try await driver.write { session in
            let ids = SQLValue.integer(Int64(clamping: idsThrough))
            // The number is one's own for as long as nobody has taken it since, also after it ran out.
            let renewed = try session.execute(
                """
                UPDATE node_lease SET expires_at = \(Driver.nowMilliseconds) + ?,
                    ids_through = CASE WHEN ids_through < ? THEN ? ELSE ids_through END
                WHERE node = ? AND epoch = ?
                """, .milliseconds(duration), ids, ids, .number(lease.node), .epoch(lease.node))
            guard renewed == 1, let renewed = try Self.lease(lease.node.number, session) else {
                throw ApusError(.conflict, "the node number \(lease.node.number) belongs to another node now")
            }
            return renewed
        }
    }

    func release(_ lease: NodeLease) async throws {
        try await driver.write { session in
            let now = Driver.nowMilliseconds
            try session.execute(
                "UPDATE node_lease SET expires_at = \(now) WHERE node = ? AND epoch = ? AND expires_at > \(now)",
                .number(lease.node), .epoch(lease.node))
        }
    }

    /// Nil: another node was faster.
    private static func acquire(for duration: Duration, _ session: Driver.Session) throws -> NodeLease? {
        let free = try session.row(
            """
            SELECT node, epoch FROM node_lease WHERE expires_at <= \(Driver.nowMilliseconds) ORDER BY expires_at, node LIMIT 1
            """)
        guard let free else {
            throw ApusError(.overloaded, "all node numbers are taken", retryAfterMilliseconds: 10_000)
        }
        let number = try free.integer(0)
        // The epoch, not the row read above, decides who of several gets it.
        let taken = try session.execute(
            "UPDATE node_lease SET epoch = epoch + 1, expires_at = \(Driver.nowMilliseconds) + ? WHERE node = ? AND epoch = ?",
            .milliseconds(duration), .integer(number), .integer(try free.integer(1)))
        return taken == 1 ? try lease(UInt16(clamping: number), session) : nil
    }

    private static func lease(_ number: UInt16, _ session: Driver.Session) throws -> NodeLease? {
        try session.row("SELECT epoch, expires_at, ids_through FROM node_lease WHERE node = ?", .integer(Int64(number))).map { row in
            NodeLease(
                node: NodeID(number: number, epoch: UInt64(clamping: try row.integer(0))), expiresAt: try row.time(1),
                idsThrough: UInt64(clamping: try row.integer(2)))
        }
    }
}

extension SQLValue {
    fileprivate static func milliseconds(_ duration: Duration) -> SQLValue {
        .integer(duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000)
    }

    fileprivate static func number(_ node: NodeID) -> SQLValue { .integer(Int64(node.number)) }
    fileprivate static func epoch(_ node: NodeID) -> SQLValue { .integer(Int64(clamping: node.epoch)) }
}
