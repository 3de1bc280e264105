import ApusProtocol

extension MemoryStore: SigningKeyStore {
    public func signingKeys() async throws -> [SigningKey] { state.withLockedValue(\.signingKeys) }

    public func add(_ key: SigningKey, replacing expected: String?) async throws -> Bool {
        state.withLockedValue { state in
            guard state.signingKeys.first?.id == expected, !state.signingKeys.contains(where: { $0.id == key.id }) else { return false }
            state.signingKeys.insert(key, at: 0)
            return true
        }
    }

    public func remove(_ ids: [String]) async throws {
        state.withLockedValue { state in state.signingKeys.removeAll { ids.contains($0.id) } }
    }
}
