#if Cluster
import ApusProtocol

extension ZooKeeperRegistry {
    /// Whether the ensemble gives us a session.
    /// - Throws: ``ApusError`` `store_unavailable` when it does not in time.
    public static func check(_ configuration: ZooKeeperConfiguration, timeout: Duration = .seconds(3)) async throws {
        let connection: ZooKeeperConnection
        do {
            connection = try await ZooKeeperConnection.open(configuration)
        } catch {
            throw ApusError(.storeUnavailable, "ZooKeeper cannot be used", cause: error)
        }
        let isConnected = await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in connection.signals where connection.takeNews().session == .connected { return true }
                return false
            }
            group.addTask {
                try? await Task.sleep(for: timeout)
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
        await connection.close()
        guard isConnected else {
            let servers = configuration.servers.map(\.description).joined(separator: ", ")
            throw ApusError(.storeUnavailable, "no session with ZooKeeper at \(servers) within \(timeout)")
        }
    }
}
#endif
