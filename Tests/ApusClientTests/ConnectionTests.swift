import ApusProtocol
import Foundation
import Testing

@testable import ApusClient

/// Connections that end, and logins that end.
@Suite(.timeLimit(.minutes(2)))
struct ConnectionTests {
    @Test("a node that leaves is left: what is in flight is answered first, the next connection is made after the given time")
    func goaway() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in
                    var goaway = WireGoaway()
                    goaway.reason = "restart"
                    goaway.reconnectAfterMs = 30
                    for session in world.sessions { session.send(WireServerFrame(.goaway(goaway))) }
                }
                let wait = try await events.first("wait") { if case .connection(.waiting(let wait)) = $0 { wait } else { nil } } as Duration
                #expect(wait == .milliseconds(30))
                try await events.untilOnline()
                #expect(try await client.send("after", to: testConversation).seq == 1)
                #expect(try await server.with { $0.hellos } == 2)
            }
        }
    }

    @Test("a goaway that names another node sends the client there")
    func goawayElsewhere() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in
                    var goaway = WireGoaway()
                    goaway.url = world.node.url
                    // Asked again, the server would have nothing to say: only the goaway's address leads anywhere.
                    world.faults.unavailable = .max
                    for session in world.sessions { session.send(WireServerFrame(.goaway(goaway))) }
                }
                try await events.untilOnline()
                #expect(try await server.with { $0.hellos } == 2)
            }
        }
    }

    @Test("a quiet client pings, and a server that no longer answers is given up for a new connection")
    func heartbeats() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.heartbeatMilliseconds = 400 }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                while try await server.with({ $0.pings }) < 3 { await Task.yield() }
                #expect(try await server.with { $0.hellos } == 1)
                try await server.with { $0.faults.isSilent = true }
                try await events.untilWaiting()
                try await server.with { $0.faults.isSilent = false }
                try await events.untilOnline()
            }
        }
    }

    @Test("a server that takes the connection and never says welcome is given up in time")
    func silentHandshake() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.faults.isSilent = true }
            var configuration = server.configuration()
            configuration.requestTimeout = .milliseconds(100)
            try await server.withClient(configuration) { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilWaiting()
                try await server.with { $0.faults.isSilent = false }
                try await events.untilOnline()
            }
        }
    }

    @Test("an acknowledgement that never comes makes the client connect anew and send again")
    func silentSend() async throws {
        try await FakeServer.run { server in
            var configuration = server.configuration()
            configuration.acknowledgementTimeout = .milliseconds(100)
            try await server.withClient(configuration) { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { $0.faults.isSilent = true }
                let pending = try await client.enqueue("patience", to: testConversation)
                try await events.untilWaiting()
                try await server.with { $0.faults.isSilent = false }
                #expect(try await pending.acknowledgement().seq == 1)
            }
        }
    }

    @Test("a server that is away is tried again until it is back")
    func unavailable() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.faults.unavailable = 4 }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                #expect(try await server.with { $0.faults.unavailable } == 0)
            }
        }
    }

    @Test("an access token that the socket refuses is renewed, without a logout", arguments: [1, 3])
    func refusedToken(connections: Int) async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                for number in 1...connections {
                    try await server.with { world in
                        world.expireAccessTokens()
                        for session in world.sessions { session.close(.tokenRefused) }
                    }
                    try await events.untilOnline()
                    #expect(try await server.with { $0.refreshes } == number)
                }
                #expect(try await client.currentLogin() != nil)
            }
        }
    }

    @Test("a revoked device is logged out and does not come back by itself")
    func revokedDevice() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in for session in world.sessions { session.close(.deviceRevoked) } }
                let reason =
                    try await events.first("logout") { if case .loggedOut(let reason) = $0 { reason } else { nil } } as LogoutReason
                #expect(reason == .deviceRevoked)
                #expect(try await client.currentLogin() == nil)
                #expect(await client.connectionState == .disconnected)
                let error = await #expect(throws: ApusError.self) { try await client.send("gone", to: testConversation) }
                #expect(error?.code == .notLoggedIn)
                // Logging in again makes it whole.
                try await client.login(username: "ada", password: "password")
                await client.connect()
                #expect(try await client.send("back", to: testConversation).seq == 1)
            }
        }
    }

    @Test("tokens that nobody accepts any more end the login")
    func voidTokens() async throws {
        try await FakeServer.run { server in
            try await server.withClient { client async throws in
                let events = client.events()
                try await server.with { world in
                    world.expireAccessTokens()
                    world.expireRefreshTokens()
                }
                await client.connect()
                let reason =
                    try await events.first("logout") { if case .loggedOut(let reason) = $0 { reason } else { nil } } as LogoutReason
                #expect(reason == .tokenRefused)
                #expect(try await client.currentLogin() == nil)
            }
        }
    }

    @Test("a close that blames the client stops it; asked to connect, it tries again")
    func giveUp() async throws {
        try await FakeServer.run { server in
            try await server.with { $0.faults.helloClose = [.malformed] }
            try await server.withClient { client async throws in
                let events = client.events()
                await client.connect()
                let code =
                    try await events.first("failure") { if case .connection(.failed(let code)) = $0 { code } else { nil } } as CloseCode
                #expect(code == .malformed)
                await client.connect()
                try await events.untilOnline()
            }
        }
    }

    @Test(
        "close codes of every kind lead back to a connection when they say so",
        arguments: [CloseCode.slowConsumer, .goingAway, .unavailable])
    func closeCodes(_ code: CloseCode) async throws {
        try await FakeServer.run { server in
            try await server.withClient(server.configuration(.memory, .tcp)) { client async throws in
                let events = client.events()
                await client.connect()
                try await events.untilOnline()
                try await server.with { world in for session in world.sessions { session.close(code) } }
                try await events.untilOnline()
            }
        }
    }

    @Test("a closed client ends its events, fails whoever waits for it, and keeps the message")
    func close() async throws {
        try await FakeServer.run { server in
            try await withTemporaryDirectory { directory in
                let pending = try await server.withClient(server.configuration(.directory(directory))) { client async throws in
                    let events = client.events()
                    let pending = try await client.enqueue("kept", to: testConversation)
                    await client.close()
                    for await _ in events {}
                    return pending
                }
                let error = await #expect(throws: ApusError.self) { try await pending.acknowledgement() }
                #expect(error?.code == .clientClosed)
            }
        }
    }
}
