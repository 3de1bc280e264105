import ApusProtocol

extension MemoryStore: ConversationStore {
    public func direct(
        between first: AccountID, and second: AccountID, proposedID: ConversationID, at time: Timestamp
    ) async throws -> Conversation {
        let pair = AccountPair(first, second)
        return try state.withLockedValue { state in
            if let known = state.directConversations[pair].flatMap({ state.conversations[$0] }) { return known.state.conversation }
            guard state.conversations[proposedID] == nil else { throw ApusError(.conflict, "the proposed conversation id is taken") }
            let conversation = Conversation(id: proposedID, kind: .direct, title: "", createdAt: time)
            let accounts = Set([pair.low, pair.high])
            let roster = Roster(accounts.map { Member(account: $0, joined: 1, role: .member) }, changed: 1)
            var stored = StoredConversation(state: ConversationState(conversation: conversation, head: 0, roster: roster))
            for account in accounts {
                stored.stays[account] = [Stay(joined: 1)]
                state.conversationsByAccount[account, default: []].insert(proposedID)
            }
            state.conversations[proposedID] = stored
            state.directConversations[pair] = proposedID
            return conversation
        }
    }

    public func conversation(_ id: ConversationID) async throws -> Conversation? {
        state.withLockedValue { $0.conversations[id]?.state.conversation }
    }

    public func conversations(of account: AccountID, after: ConversationID?, limit: Int) async throws -> [ConversationInfo] {
        state.withLockedValue { state in
            let present = state.conversations(of: account, after: after).filter { $0.state.roster.contains(account) }
            return present.prefix(max(0, limit)).map { $0.info(for: account) }
        }
    }

    public func conversation(_ id: ConversationID, of account: AccountID) async throws -> ConversationInfo? {
        state.withLockedValue { state in
            guard let stored = state.conversations[id], stored.stays[account] != nil else { return nil }
            return stored.info(for: account)
        }
    }

    public func members(of id: ConversationID, after: AccountID?, limit: Int) async throws -> [MemberInfo] {
        state.withLockedValue { state in
            guard let stored = state.conversations[id] else { return [] }
            let members = stored.state.roster.members.filter { member in after.map { member.account > $0 } ?? true }
            return members.sorted { $0.account < $1.account }.prefix(max(0, limit)).map { member in
                let mark = stored.marks[member.account]
                return MemberInfo(
                    account: member.account, role: member.role, joined: member.joined, read: mark?.read ?? 0,
                    delivered: mark?.delivered ?? 0)
            }
        }
    }

    public func visibility(of account: AccountID, in id: ConversationID) async throws -> Visibility? {
        state.withLockedValue { $0.conversations[id]?.visibility(of: account) }
    }

    public func audience(of id: ConversationID) async throws -> Audience? {
        state.withLockedValue { $0.conversations[id]?.state.roster.audience }
    }

    public func save(_ marks: [Mark]) async throws {
        guard marks.count <= 1000 else { throw ApusError(.invalidArgument, "more than 1,000 marks at once") }
        state.withLockedValue { state in
            for mark in marks where state.conversations[mark.conversation]?.state.roster.contains(mark.account) == true {
                var merged = state.conversations[mark.conversation]?.marks[mark.account] ?? mark
                merged.read = max(merged.read, mark.read)
                merged.delivered = max(merged.delivered, mark.delivered)
                state.conversations[mark.conversation]?.marks[mark.account] = merged
            }
        }
    }
}

extension MemoryStore.State {
    /// Those that the account is or was in, ascending by id.
    func conversations(of account: AccountID, after: ConversationID?) -> [StoredConversation] {
        let ids = (conversationsByAccount[account] ?? []).filter { id in after.map { id > $0 } ?? true }
        return ids.sorted().compactMap { conversations[$0] }
    }
}

extension StoredConversation {
    fileprivate func info(for account: AccountID) -> ConversationInfo {
        let conversation = state.conversation
        let peer = conversation.kind == .direct ? stays.keys.first { $0 != account } : nil
        return ConversationInfo(
            id: conversation.id, kind: conversation.kind, title: conversation.title, peer: peer, memberCount: state.roster.members.count,
            head: visibleHead(of: account), read: marks[account]?.read ?? 0)
    }
}
