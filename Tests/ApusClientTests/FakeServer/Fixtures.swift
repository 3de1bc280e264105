import ApusClient
import ApusProtocol
import Foundation
import Testing

/// A directory of its own for one test.
func withTemporaryDirectory<T>(_ body: (URL) async throws -> T) async throws -> T {
    let directory = FileManager.default.temporaryDirectory.appending(path: "apus-client-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let result: T
    do {
        result = try await body(directory)
    } catch {
        try FileManager.default.removeItem(at: directory)
        throw error
    }
    try FileManager.default.removeItem(at: directory)
    return result
}

let testConversation = ConversationID(77)
let testPeer = AccountID(5)

extension FakeServer {
    /// Quick to retry, so that a test that breaks connections does not wait.
    func configuration(
        _ storage: ClientConfiguration.Storage = .memory, _ transport: ClientConfiguration.Transport = .webSocket
    ) -> ClientConfiguration {
        var configuration = ClientConfiguration(server: url, storage: storage, transport: transport, deviceName: "test", platform: "test")
        configuration.backoff = Backoff.Policy(initial: .milliseconds(5), max: .milliseconds(50))
        configuration.logger.logLevel = .error
        return configuration
    }

    /// Runs `body` with a client that is logged in as `username`, and closes it.
    func withClient<T: Sendable>(
        _ configuration: ClientConfiguration? = nil, username: String = "ada", body: (Client) async throws -> T
    ) async throws -> T {
        let client = try Client(configuration: configuration ?? self.configuration())
        do {
            if try await client.currentLogin() == nil {
                let isKnown = try await with { world in world.people.contains { $0.username == username } }
                if !isKnown { try await client.register(username: username, password: "password") }
                try await client.login(username: username, password: "password")
            }
            let result = try await body(client)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }
}

extension ClientEvents {
    /// Reads on until `pick` finds what it wants, for at most twenty seconds.
    func first<T: Sendable>(_ what: String, _ pick: @escaping @Sendable (ClientEvent) -> T?) async throws -> T {
        try await withThrowingTaskGroup(of: T?.self) { group in
            group.addTask {
                for await event in self {
                    if let found = pick(event) { return found }
                }
                return nil
            }
            group.addTask {
                try await Task.sleep(for: .seconds(20))
                return nil
            }
            defer { group.cancelAll() }
            guard let found = try await group.next(), let found else { throw ApusError(.timedOut, "no \(what)") }
            return found
        }
    }

    func untilOnline() async throws {
        _ = try await first("connection") { if case .connection(.online) = $0 { true } else { nil } } as Bool
    }

    func untilWaiting() async throws {
        _ = try await first("wait") { if case .connection(.waiting) = $0 { true } else { nil } } as Bool
    }

    /// The next `count` entries.
    func entries(_ count: Int) async throws -> [Entry] {
        var entries: [Entry] = []
        while entries.count < count {
            entries.append(
                try await first("entry \(entries.count + 1) of \(count)") { if case .entry(let entry) = $0 { entry } else { nil } })
        }
        return entries
    }
}
