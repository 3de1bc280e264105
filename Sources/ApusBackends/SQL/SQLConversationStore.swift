import ApusCore
import ApusProtocol

/// What a ``SQLConversationStore`` asks the log of its database.
protocol ConversationLog: Sendable {
    /// The heads that the tables may not have yet. Taken before a snapshot of the tables: see the reads of the log.
    func unwrittenHeads() -> [ConversationID: LogHead]
    func audience(of id: ConversationID) async throws -> Audience?
}

/// ``ConversationStore`` over any SQL database.
struct SQLConversationStore<Driver: SQLDriver, Log: ConversationLog>: ConversationStore {
    let driver: Driver
    let log: Log

    func direct(
        between first: AccountID, and second: AccountID, proposedID: ConversationID, at time: Timestamp
    ) async throws -> Conversation {
        let low = min(first, second)
        let high = max(first, second)
        if let known = try await driver.read({ try Self.direct(low, high, $0) }) { return known }
        do {
            return try await driver.write { session in
                if let known = try Self.direct(low, high, session) { return known }
                let conversation = Conversation(id: proposedID, kind: .direct, title: "", createdAt: time)
                let members = Set([low, high]).sorted()
                try session.insert(conversation, memberCount: members.count)
                try session.insert(members.map { Member(account: $0, joined: 1, role: .member) }, of: proposedID)
                try session.execute(
                    "INSERT INTO direct_conversation (low_account, high_account, conversation) VALUES (?, ?, ?)",
                    .id(low), .id(high), .id(proposedID))
                return conversation
            }
        } catch let violation as SQLUniqueViolation {
            // Another node made it at the same time, or else the id is in use.
            if let known = try await driver.read({ try Self.direct(low, high, $0) }) { return known }
            throw ApusError(.conflict, "the proposed conversation id is taken", cause: violation)
        }
    }

    func conversation(_ id: ConversationID) async throws -> Conversation? {
        try await driver.read { session in
            try session.row("SELECT kind, title, created_at FROM conversation WHERE id = ?", .id(id)).map { try Conversation($0, id: id) }
        }
    }

    func conversations(of account: AccountID, after: ConversationID?, limit: Int) async throws -> [ConversationInfo] {
        let recent = log.unwrittenHeads()
        return try await driver.read { session in
            try session.rows(
                """
                \(Self.infoColumns) WHERE m.account = ? AND m.left_seq IS NULL AND m.conversation > ?
                ORDER BY m.conversation LIMIT ?
                """, .id(account), .after(after), .count(max(0, limit))
            ).map { try Self.info($0, recent) }
        }
    }

    func conversation(_ id: ConversationID, of account: AccountID) async throws -> ConversationInfo? {
        let recent = log.unwrittenHeads()
        return try await driver.read { session in
            try session.row(
                "\(Self.infoColumns) WHERE m.account = ? AND m.conversation = ? ORDER BY m.joined_seq DESC LIMIT 1", .id(account), .id(id)
            ).map { try Self.info($0, recent) }
        }
    }

    func members(of id: ConversationID, after: AccountID?, limit: Int) async throws -> [MemberInfo] {
        try await driver.read { session in
            try session.rows(
                """
                SELECT m.account, m.joined_seq, m.role, k.read_seq, k.delivered_seq FROM membership m
                LEFT JOIN mark k ON k.conversation = m.conversation AND k.account = m.account
                WHERE m.conversation = ? AND m.left_seq IS NULL AND m.account > ? ORDER BY m.account LIMIT ?
                """, .id(id), .after(after), .count(max(0, limit))
            ).map { row in
                let member = try Member(row)
                return MemberInfo(
                    account: member.account, role: member.role, joined: member.joined, read: row.isNull(3) ? 0 : try row.seq(3),
                    delivered: row.isNull(4) ? 0 : try row.seq(4))
            }
        }
    }

    func visibility(of account: AccountID, in id: ConversationID) async throws -> Visibility? {
        try await driver.read { session in
            let rows = try session.rows(
                "SELECT joined_seq, left_seq FROM membership WHERE conversation = ? AND account = ? ORDER BY joined_seq",
                .id(id), .id(account))
            return rows.isEmpty ? nil : Visibility(ranges: try rows.map { try $0.seq(0)...($0.isNull(1) ? .max : $0.seq(1)) })
        }
    }

    func audience(of id: ConversationID) async throws -> Audience? { try await log.audience(of: id) }

    func save(_ marks: [Mark]) async throws {
        guard marks.count <= 1000 else { throw ApusError(.invalidArgument, "more than 1,000 marks at once") }
        guard !marks.isEmpty else { return }
        // In one order on all nodes, so that they wait for each other and not in a circle.
        let marks = marks.sorted { ($0.conversation, $0.account) < ($1.conversation, $1.account) }
        do {
            try await driver.writeAgainIfAdded { session in
                for mark in marks { try Self.save(mark, session) }
            }
        } catch let violation as SQLUniqueViolation {
            // A member has a first mark once, ever: so much bad luck is for the caller to try again.
            throw ApusError(.storeUnavailable, "other nodes are saving the same marks", cause: violation)
        }
    }

    private static func save(_ mark: Mark, _ session: Driver.Session) throws {
        let isMember = try session.row(
            "SELECT 1 FROM membership WHERE conversation = ? AND account = ? AND left_seq IS NULL", .id(mark.conversation),
            .id(mark.account))
        guard isMember != nil else { return }
        let read = SQLValue.seq(mark.read)
        let delivered = SQLValue.seq(mark.delivered)
        let found = try session.execute(
            """
            UPDATE mark SET read_seq = CASE WHEN read_seq < ? THEN ? ELSE read_seq END,
                delivered_seq = CASE WHEN delivered_seq < ? THEN ? ELSE delivered_seq END
            WHERE conversation = ? AND account = ?
            """, read, read, delivered, delivered, .id(mark.conversation), .id(mark.account))
        guard found == 0 else { return }
        try session.execute(
            "INSERT INTO mark (conversation, account, read_seq, delivered_seq) VALUES (?, ?, ?, ?)",
            .id(mark.conversation), .id(mark.account), read, delivered)
    }

    private static func direct(_ low: AccountID, _ high: AccountID, _ session: Driver.Session) throws -> Conversation? {
        try session.row(
            """
            SELECT c.kind, c.title, c.created_at, c.id FROM direct_conversation d JOIN conversation c ON c.id = d.conversation
            WHERE d.low_account = ? AND d.high_account = ?
            """, .id(low), .id(high)
        ).map { try Conversation($0, id: $0.id(3)) }
    }

    private static var infoColumns: String {
        """
        SELECT c.kind, c.title, c.created_at, c.id, p.account, c.member_count, m.left_seq, c.head, k.read_seq FROM membership m
        JOIN conversation c ON c.id = m.conversation
        LEFT JOIN membership p ON p.conversation = m.conversation AND p.account <> m.account AND c.kind = 'direct'
        LEFT JOIN mark k ON k.conversation = m.conversation AND k.account = m.account
        """
    }

    private static func info(_ row: SQLRow, _ recent: [ConversationID: LogHead]) throws -> ConversationInfo {
        let conversation = try Conversation(row, id: row.id(3))
        let head = max(try row.seq(7), recent[conversation.id]?.seq ?? 0)
        return ConversationInfo(
            id: conversation.id, kind: conversation.kind, title: conversation.title, peer: row.isNull(4) ? nil : try row.id(4),
            memberCount: Int(try row.integer(5)), head: row.isNull(6) ? head : try row.seq(6),
            read: row.isNull(8) ? 0 : try row.seq(8))
    }
}
