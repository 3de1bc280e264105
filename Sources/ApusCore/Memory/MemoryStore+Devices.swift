import ApusProtocol

extension MemoryStore: DeviceStore {
    public func create(_ device: Device, token: RefreshTokenRecord) async throws {
        try state.withLockedValue { state in
            guard state.devices[device.id] == nil, state.refreshTokens[token.hash] == nil else {
                throw ApusError(.conflict, "the device or its token exists")
            }
            state.devices[device.id] = StoredDevice(device: device)
            state.refreshTokens[token.hash] = StoredToken(device: device.id, expiresAt: token.expiresAt)
        }
    }

    public func devices(of account: AccountID) async throws -> [Device] {
        state.withLockedValue { state in
            let devices = state.devices.values.filter { $0.revokedAt == nil && $0.device.account == account }.map(\.device)
            return Array(devices.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }.prefix(1000))
        }
    }

    public func isActive(_ id: DeviceID) async throws -> Bool {
        state.withLockedValue { $0.activeDevice(id) != nil }
    }

    public func rotate(
        _ old: [UInt8], to new: RefreshTokenRecord, at time: Timestamp, grace: Duration
    ) async throws -> RefreshRotation {
        try state.withLockedValue { state in
            guard let token = state.refreshTokens[old], token.expiresAt > time, var device = state.activeDevice(token.device) else {
                return .refused
            }
            guard state.refreshTokens[new.hash] == nil else { throw ApusError(.conflict, "the new refresh token exists") }
            if let usedAt = token.usedAt {
                guard let successor = token.successor, state.refreshTokens[successor]?.usedAt == nil, usedAt + grace > time else {
                    state.end(device.id, at: time)
                    return .reused(device)
                }
                state.refreshTokens[successor]?.usedAt = time
            }
            state.refreshTokens[old]?.usedAt = token.usedAt ?? time
            state.refreshTokens[old]?.successor = new.hash
            state.refreshTokens = state.refreshTokens.filter { $0.value.device != device.id || $0.value.expiresAt > time }
            state.refreshTokens[new.hash] = StoredToken(device: device.id, expiresAt: new.expiresAt)
            device.lastSeenAt = max(device.lastSeenAt, time)
            state.devices[device.id]?.device = device
            return .rotated(device)
        }
    }

    public func device(refreshToken hash: [UInt8]) async throws -> Device? {
        state.withLockedValue { state in state.refreshTokens[hash].flatMap { state.activeDevice($0.device) } }
    }

    public func revoke(_ ids: [DeviceID], of account: AccountID, at time: Timestamp) async throws -> [DeviceID] {
        state.withLockedValue { state in
            ids.filter { id in
                guard state.activeDevice(id)?.account == account else { return false }
                state.end(id, at: time)
                return true
            }
        }
    }
}

extension MemoryStore.State {
    fileprivate func activeDevice(_ id: DeviceID) -> Device? {
        devices[id].flatMap { $0.revokedAt == nil ? $0.device : nil }
    }

    fileprivate mutating func end(_ id: DeviceID, at time: Timestamp) {
        devices[id]?.revokedAt = time
        refreshTokens = refreshTokens.filter { $0.value.device != id }
    }
}
