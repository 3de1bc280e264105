import ApusProtocol

extension MemoryStore: AccountStore {
    public func create(_ account: Account) async throws {
        try state.withLockedValue { state in
            guard state.accountByUsername[account.username] == nil, state.accounts[account.id] == nil else {
                throw ApusError(.conflict, "the username is taken")
            }
            state.accounts[account.id] = StoredAccount(account: account)
            state.accountByUsername[account.username] = account.id
        }
    }

    public func account(_ id: AccountID) async throws -> Account? {
        state.withLockedValue { $0.account(id) }
    }

    public func account(username: String) async throws -> Account? {
        state.withLockedValue { state in state.accountByUsername[username].flatMap(state.account) }
    }

    public func accounts(_ ids: [AccountID]) async throws -> [Account] {
        guard ids.count <= 1000 else { throw ApusError(.invalidArgument, "more than 1,000 accounts at once") }
        return state.withLockedValue { state in Set(ids).compactMap(state.account) }
    }

    public func accounts(usernamePrefix prefix: String, limit: Int) async throws -> [Account] {
        state.withLockedValue { state in
            // Bytes, not characters: the order and the equality of a database.
            let matches = state.accountByUsername.filter { $0.key.utf8.starts(with: prefix.utf8) }
            let sorted = matches.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            return Array(sorted.compactMap { state.account($0.value) }.prefix(max(0, limit)))
        }
    }

    public func update(_ account: Account) async throws {
        state.withLockedValue { state in
            guard var stored = state.account(account.id) else { return }
            stored.displayName = account.displayName
            stored.avatar = account.avatar
            stored.bio = account.bio
            state.accounts[account.id]?.account = stored
        }
    }

    public func setPasswordHash(_ hash: String, replacing old: String, of id: AccountID) async throws -> Bool {
        state.withLockedValue { state in
            guard state.account(id)?.passwordHash == old else { return false }
            state.accounts[id]?.account.passwordHash = hash
            return true
        }
    }

    public func delete(_ id: AccountID, at time: Timestamp) async throws {
        state.withLockedValue { state in
            guard state.account(id) != nil else { return }
            state.accounts[id]?.deletedAt = time
        }
    }

    public func departing(after: AccountID?, limit: Int) async throws -> [AccountID] {
        state.withLockedValue { state in
            let departing = state.accounts.values.filter { $0.deletedAt != nil && $0.departedAt == nil }.map(\.account.id)
            return Array(departing.filter { id in after.map { id > $0 } ?? true }.sorted().prefix(max(0, limit)))
        }
    }

    public func setDeparted(_ id: AccountID, at time: Timestamp) async throws {
        state.withLockedValue { state in
            guard state.accounts[id]?.deletedAt != nil else { return }
            state.accounts[id]?.departedAt = time
        }
    }
}

extension MemoryStore.State {
    /// Nil when it was deleted.
    fileprivate func account(_ id: AccountID) -> Account? {
        accounts[id].flatMap { $0.deletedAt == nil ? $0.account : nil }
    }
}
