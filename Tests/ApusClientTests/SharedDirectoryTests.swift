import ApusProtocol
import Foundation
import Testing

@testable import ApusClient

/// What outlives a client, and several clients of one directory.
@Suite(.timeLimit(.minutes(2)))
struct SharedDirectoryTests {
    @Test("messages of a client that ended are sent by the next one, once, in order, and before its own")
    func outboxSurvives() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let configuration = server.configuration(.directory(directory))
                try await server.withClient(configuration) { client async throws in
                    for number in 1...3 { _ = try await client.enqueue("\(number)", to: testConversation) }
                }
                try await server.withClient(configuration) { client async throws in
                    #expect(try await client.pendingSends().count == 3)
                    await client.connect()
                    #expect(try await client.send("4", to: testConversation).seq == 4)
                    #expect(try await client.localHistory(of: testConversation).map(\.body) == ["1", "2", "3", "4"])
                }
            }
        }
    }

    @Test("a client leaves the messages of one that lives alone, and takes them over when it has ended")
    func adoption() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let configuration = server.configuration(.directory(directory))
                try await server.withClient(configuration) { waiting async throws in
                    _ = try await waiting.enqueue("of the first", to: testConversation)
                    try await server.withClient(configuration) { sending async throws in
                        await sending.connect()
                        #expect(try await sending.send("of the second", to: testConversation).seq == 1)
                        #expect(try await sending.pendingSends().isEmpty)
                        await waiting.close()
                        #expect(try await sending.pendingSends().count == 1)
                        #expect(try await sending.send("more", to: testConversation).seq == 3)
                    }
                }
                let log = try await server.with { $0.logs[testConversation]?.entries.map(\.body) }
                #expect(log == ["of the second", "of the first", "more"])
            }
        }
    }

    @Test("a client that does not adopt leaves what it finds in the outbox")
    func noAdoption() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                var configuration = server.configuration(.directory(directory))
                try await server.withClient(configuration) { client async throws in
                    _ = try await client.enqueue("left", to: testConversation)
                }
                configuration.adoptsOutbox = false
                try await server.withClient(configuration) { client async throws in
                    let events = client.events()
                    await client.connect()
                    try await events.untilOnline()
                    #expect(try await client.send("own", to: testConversation).seq == 1)
                }
                configuration.adoptsOutbox = true
                try await server.withClient(configuration) { client async throws in #expect(try await client.pendingSends().count == 1) }
            }
        }
    }

    @Test("a client that starts again goes on where the last one was, and tells nothing twice")
    func cursorsSurvive() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let configuration = server.configuration(.directory(directory))
                try await server.with { world in for number in 1...12 { world.append("\(number)", to: testConversation, by: testPeer) } }
                try await server.withClient(configuration) { client async throws in
                    let events = client.events()
                    await client.connect()
                    #expect(try await events.entries(12).count == 12)
                }
                try await server.with { world in for number in 13...15 { world.append("\(number)", to: testConversation, by: testPeer) } }
                try await server.withClient(configuration) { client async throws in
                    let events = client.events()
                    await client.connect()
                    #expect(try await events.entries(3).map(\.seq) == [13, 14, 15])
                    #expect(try await client.localHistory(of: testConversation).count == 15)
                }
            }
        }
    }

    @Test("two clients of one directory each tell every entry once, whoever stores it first")
    func twoReaders() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let configuration = server.configuration(.directory(directory))
                try await server.withClient(configuration) { first async throws in
                    try await server.withClient(configuration) { second async throws in
                        let (firstEvents, secondEvents) = (first.events(), second.events())
                        await first.connect()
                        await second.connect()
                        try await firstEvents.untilOnline()
                        try await secondEvents.untilOnline()
                        for number in 1...20 {
                            _ = try await (number.isMultiple(of: 2) ? first : second).send("\(number)", to: testConversation)
                        }
                        let expected = (1...20).map(String.init)
                        #expect(try await firstEvents.entries(20).map(\.body) == expected)
                        #expect(try await secondEvents.entries(20).map(\.body) == expected)
                        #expect(try await first.localHistory(of: testConversation).map(\.body) == expected)
                    }
                }
            }
        }
    }

    @Test("clients of one directory never use a refresh token twice, however many need a new token at once")
    func refreshOnce() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let configuration = server.configuration(.directory(directory))
                try await server.withClient(configuration) { first async throws in
                    try await server.withClient(configuration) { second async throws in
                        try await server.with { $0.expireAccessTokens() }
                        try await withThrowingTaskGroup(of: Void.self) { group in
                            for client in [first, second, first, second] {
                                group.addTask {
                                    await client.connect()
                                    _ = try await client.account(username: "ada")
                                }
                            }
                            try await group.waitForAll()
                        }
                        let (refreshes, reuses) = try await server.with { ($0.refreshes, $0.reuses) }
                        #expect(refreshes == 1)
                        #expect(reuses == 0)
                    }
                }
            }
        }
    }

    @Test("a token that is about to expire is renewed before it is used")
    func refreshAhead() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.accessTokenSeconds = 0 }
            try await server.withClient { client async throws in
                _ = try await client.account(username: "ada")
                #expect(try await server.with { $0.refreshes } == 1)
            }
        }
    }

    @Test("the tokens are in a file that only the user can read, and gone after a logout")
    func loginFile() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let path = directory.appending(path: "login.json").path
                try await server.withClient(server.configuration(.directory(directory))) { client async throws in
                    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                    #expect(mode == 0o600)
                    try await client.logout()
                    #expect(!FileManager.default.fileExists(atPath: path))
                }
            }
        }
    }

    @Test("a login as another account removes the entries and the unsent messages of the one before")
    func otherAccount() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                try await server.withClient(server.configuration(.directory(directory))) { client async throws in
                    let events = client.events()
                    await client.connect()
                    try await client.send("of ada", to: testConversation)
                    _ = try await events.entries(1)
                    try await client.register(username: "bob", password: "password")
                    try await server.with { $0.faults.isSilent = true }
                    _ = try await client.enqueue("unsent", to: testConversation)
                    #expect(try await client.pendingSends().count == 1)
                    try await client.login(username: "bob", password: "password")
                    #expect(try await client.localHistory(of: testConversation).isEmpty)
                    #expect(try await client.pendingSends().isEmpty)
                    try await server.with { $0.faults.isSilent = false }
                    // The new account reads the conversation from its beginning.
                    await client.connect()
                    #expect(try await events.entries(1).map(\.body) == ["of ada"])
                }
            }
        }
    }
}
