import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import AsyncHTTPClient
import Foundation
import TestNacos
import Testing

@testable import ApusBackends

/// Every configuration centre keeps the same promises.
@Suite struct ConfigurationCentreTests {
    enum Implementation: String, CaseIterable, Sendable {
        case file, nacos
        #if Cluster
        case zooKeeper
        #endif

        /// Hands over the centre, and how a person changes a document there; nil removes it.
        func with(_ body: (any ConfigurationCentre, @escaping (String, String?) async throws -> Void) async throws -> Void) async throws {
            switch self {
            case .file:
                try await withTemporaryDirectory { directory in
                    try await body(FileConfigurationCentre(directory: directory, pollInterval: .milliseconds(20))) { name, text in
                        let file = directory.appending(path: name)
                        if let text {
                            try Data(text.utf8).write(to: file, options: .atomic)
                        } else {
                            try FileManager.default.removeItem(at: file)
                        }
                    }
                }
            case .nacos:
                try await NacosServer.with { server in
                    try await body(NacosConfigurationCentre(.fast(server), logger: quiet)) { try await server.publish($0, $1) }
                }
            #if Cluster
            case .zooKeeper:
                try await ZooKeeperServer.with { _, port in
                    let centre = ZooKeeperConfigurationCentre(.fast(port), logger: quiet)
                    let hand = try await ZooKeeperConnection.open(.fast(port))
                    try await ZooKeeperSessions.makeDirectory("/apus/test/config", hand)
                    try await running([centre]) {
                        try await body(centre) { name, text in
                            let path = "/apus/test/config/\(name)"
                            guard let text else { return try await hand.delete(path) }
                            if try await hand.set(path, Array(text.utf8)) == nil {
                                _ = try await hand.create(path, Array(text.utf8), ephemeral: false)
                            }
                        }
                    }
                    await hand.close()
                }
            #endif
            }
        }
    }

    @Test("A document is read as it is now; one that does not exist is empty", arguments: Implementation.allCases)
    func text(_ implementation: Implementation) async throws {
        try await implementation.with { centre, publish in
            #expect(try await centre.text(of: "apus.yaml") == "")
            try await publish("apus.yaml", "log: {level: debug}\n# ü+%20 &=\n")
            try await waitUntil("the document") { try await centre.text(of: "apus.yaml") == "log: {level: debug}\n# ü+%20 &=\n" }
            #expect(try await centre.text(of: "other.yaml") == "")
        }
    }

    @Test("A watcher gets the document as it is, each change, and the empty text once it is removed", arguments: Implementation.allCases)
    func changes(_ implementation: Implementation) async throws {
        try await implementation.with { centre, publish in
            var changes = centre.changes(of: "apus.yaml").makeAsyncIterator()
            #expect(await changes.next() == "")
            try await publish("apus.yaml", "a: 1")
            #expect(await changes.next() == "a: 1")
            try await publish("other.yaml", "b: 1")
            try await publish("apus.yaml", "a: 2")
            #expect(await changes.next() == "a: 2")
            try await publish("apus.yaml", nil)
            #expect(await changes.next() == "")
            try await publish("apus.yaml", "a: 3")
            #expect(await changes.next() == "a: 3")
            var late = centre.changes(of: "apus.yaml").makeAsyncIterator()
            #expect(await late.next() == "a: 3")
        }
    }

    @Test("Of many changes a slow watcher gets the last one at the end", arguments: Implementation.allCases)
    func slowWatcher(_ implementation: Implementation) async throws {
        try await implementation.with { centre, publish in
            let changes = centre.changes(of: "apus.yaml")
            for number in 1...20 { try await publish("apus.yaml", "a: \(number)") }
            var count = 0
            for await text in changes {
                count += 1
                if text == "a: 20" { break }
            }
            #expect(count <= 20)
        }
    }

    @Test("Watching ends when the task is cancelled", arguments: Implementation.allCases)
    func cancellation(_ implementation: Implementation) async throws {
        try await implementation.with { centre, _ in
            await withTaskGroup(of: Void.self) { group in
                let (seen, see) = AsyncStream.makeStream(of: Void.self)
                group.addTask { for await _ in centre.changes(of: "apus.yaml") { see.yield() } }
                for await _ in seen { break }
                group.cancelAll()
            }
        }
    }

    @Test("What can be no name of a document is refused", arguments: Implementation.allCases)
    func badNames(_ implementation: Implementation) async throws {
        try await implementation.with { centre, _ in
            for name in ["", "..", "a/b", "../../etc/passwd", "a b", "ü", String(repeating: "x", count: 257)] {
                let error = await #expect(throws: ApusError.self) { try await centre.text(of: name) }
                #expect(error?.code == .invalidArgument)
            }
        }
    }
}

@Suite("The configuration centre in Nacos, by long polling")
struct NacosConfigurationCentreTests {
    @Test("A request that waits is answered when the document changes, and not before", arguments: ["", "chat-1"])
    func longPolling(namespace: String) async throws {
        try await NacosServer.with { server in
            var configuration = NacosConfiguration.fast(server)
            configuration.namespace = namespace
            configuration.group = "APUS"
            let centre = NacosConfigurationCentre(configuration, logger: quiet)
            try await server.publish("apus.yaml", "a: 1", group: "APUS", tenant: namespace)
            let (seen, see) = AsyncStream.makeStream(of: String.self)
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await text in centre.changes(of: "apus.yaml") { see.yield(text) } }
                var texts = seen.makeAsyncIterator()
                #expect(await texts.next() == "a: 1")
                do {
                    try await waitUntil("a request that waits") { server.listenerCount == 1 }
                    let start = ContinuousClock.now
                    try await server.publish("apus.yaml", "a: 2", group: "APUS", tenant: namespace)
                    #expect(await texts.next() == "a: 2")
                    #expect(ContinuousClock.now - start < .seconds(5), "it was not the change that answered the request")
                    try await waitUntil("the next request that waits") { server.listenerCount == 1 }
                    #expect(server.requests.filter { $0.hasSuffix("/listener") }.count == 2)
                } catch {
                    Issue.record(error)
                }
                group.cancelAll()
            }
        }
    }

    @Test("When nothing changes for the time of a request, the next one waits, and what changes then is seen")
    func quietTime() async throws {
        var options = NacosServer.Options()
        options.longPollMin = .milliseconds(100)
        try await NacosServer.with(options) { server in
            var configuration = NacosConfiguration.fast(server)
            configuration.longPollTimeout = .milliseconds(600)
            let centre = NacosConfigurationCentre(configuration, logger: quiet)
            let (seen, see) = AsyncStream.makeStream(of: String.self)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for await text in centre.changes(of: "apus.yaml") { see.yield(text) } }
                var texts = seen.makeAsyncIterator()
                #expect(await texts.next() == "")
                try await waitUntil("some requests") { server.requests.filter { $0.hasSuffix("/listener") }.count > 3 }
                try await server.publish("apus.yaml", "a: 1")
                #expect(await texts.next() == "a: 1")
                group.cancelAll()
            }
        }
    }

    @Test("A change while no server answers is seen when one does again")
    func outage() async throws {
        try await NacosServer.with { server in
            let centre = NacosConfigurationCentre(.fast(server), logger: quiet)
            var changes = centre.changes(of: "apus.yaml").makeAsyncIterator()
            #expect(await changes.next() == "")
            try await server.publish("apus.yaml", "a: 1")
            server.fail(with: 503)
            let error = await #expect(throws: ApusError.self) { try await centre.text(of: "apus.yaml") }
            #expect(error?.code == .storeUnavailable)
            server.fail(with: nil)
            #expect(await changes.next() == "a: 1")
        }
    }
}
