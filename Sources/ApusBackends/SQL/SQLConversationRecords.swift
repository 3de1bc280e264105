import ApusCore
import ApusProtocol

extension Conversation {
    /// From the columns kind, title, created_at.
    init(_ row: SQLRow, id: ConversationID) throws {
        guard let kind = ConversationKind(rawValue: try row.text(0)) else {
            throw ApusError(.storeUnavailable, "the store holds a conversation of an unknown kind")
        }
        self.init(id: id, kind: kind, title: try row.text(1), createdAt: try row.time(2))
    }
}

extension Member {
    /// From the columns account, joined_seq, role.
    init(_ row: SQLRow) throws {
        self.init(account: try row.id(0), joined: try row.seq(1), role: try MemberRole(stored: row.text(2)))
    }
}

extension MemberRole {
    init(stored: String) throws {
        guard let role = MemberRole(rawValue: stored) else {
            throw ApusError(.storeUnavailable, "the store holds a member of an unknown role")
        }
        self = role
    }
}

extension SQLSession {
    /// Writes what the entry with this seq does to its conversation.
    func write(_ effects: [ConversationEffect], of id: ConversationID, seq: Seq) throws {
        var joined: [Member] = []
        for effect in effects {
            switch effect {
            case .created(let conversation): try insert(conversation, memberCount: 0)
            case .joined(let member): joined.append(member)
            case .left(let account, let since): try end(account, since: since, of: id, with: seq)
            case .promoted(let account, let since):
                try execute(
                    "UPDATE membership SET role = ? WHERE conversation = ? AND account = ? AND joined_seq = ?",
                    .text(MemberRole.owner.rawValue), .id(id), .id(account), .seq(since))
            case .renamed(let title): try execute("UPDATE conversation SET title = ? WHERE id = ?", .text(title), .id(id))
            }
        }
        guard !joined.isEmpty else { return }
        try insert(joined, of: id)
        try execute("UPDATE conversation SET member_count = member_count + ? WHERE id = ?", .count(joined.count), .id(id))
    }

    private func end(_ account: AccountID, since joined: Seq, of id: ConversationID, with seq: Seq) throws {
        try execute(
            "UPDATE membership SET left_seq = ? WHERE conversation = ? AND account = ? AND joined_seq = ?",
            .seq(seq), .id(id), .id(account), .seq(joined))
        try execute("UPDATE conversation SET member_count = member_count - 1 WHERE id = ?", .id(id))
    }

    func insert(_ conversation: Conversation, memberCount: Int) throws {
        try execute(
            "INSERT INTO conversation (id, kind, title, created_at, member_count, head, moved) VALUES (?, ?, ?, ?, ?, 0, 0)",
            .id(conversation.id), .text(conversation.kind.rawValue), .text(conversation.title), .time(conversation.createdAt),
            .count(memberCount))
    }

    /// In statements of 256, 128, 64 … rows: few round trips for a large group, and few statements to prepare.
    func insert(_ members: [Member], of id: ConversationID) throws {
        var rest = members[...]
        var size = 256
        while !rest.isEmpty {
            while size > rest.count { size /= 2 }
            let rows = repeatElement("(?, ?, ?, NULL, ?)", count: size).joined(separator: ", ")
            try execute(
                "INSERT INTO membership (conversation, account, joined_seq, left_seq, role) VALUES \(rows)",
                values: rest.prefix(size).flatMap { [.id(id), .id($0.account), .seq($0.joined), .text($0.role.rawValue)] })
            rest = rest.dropFirst(size)
        }
    }
}
