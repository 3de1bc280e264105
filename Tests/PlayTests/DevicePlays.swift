import ApusProtocol
import Foundation
import Testing

extension Plays {
    @Suite("Plays: devices", .serialized, .timeLimit(.minutes(2)))
    struct DevicePlays {
        @Test(
            "A revoked device's connection closes within a second, and its tokens are void", arguments: Stage.allCases,
            PlaySocket.Carrier.allCases)
        func revoked(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await Play.run(on: stage) { play in
                let alice = try await play.register("alice")
                let phone = try await alice.login(platform: "ios")
                let laptop = try await alice.login(platform: "macos")
                let lost = try await phone.connect(carrier)
                let kept = try await laptop.connect(carrier)
                let device = try #require(phone.tokens.device)

                let clock = ContinuousClock()
                let start = clock.now
                try await play.send(.DELETE, "\(HTTPPath.devices)/\(device)", token: laptop.token)
                #expect(try await lost.closeCode() == .deviceRevoked)
                #expect(clock.now - start < .seconds(1))

                #expect(try await kept.isAlive())
                let again = try await play.open(carrier, token: laptop.token)
                var hello = WireHello()
                hello.accessToken = phone.token
                try await again.send(WireClientFrame(ref: 1, .hello(hello)))
                #expect(try await again.closeCode() == .tokenRefused)
                let refresh = try #require(phone.tokens.refreshToken)
                await #expect(throws: Play.Refusal.self) {
                    try await play.send(
                        .POST, HTTPPath.token, body: Data("grant_type=refresh_token&refresh_token=\(refresh)".utf8),
                        contentType: "application/x-www-form-urlencoded")
                }
            }
        }

        /// Two logins, the first one connected; what becomes of each.
        private func twoLogins(
            _ policy: String, on stage: Stage, platforms: (String, String),
            _ story: (PlaySocket, Result<Login, any Error>) async throws -> Void
        ) async throws {
            try await Play.run(on: stage, ["--auth-device-policy", policy]) { play in
                let alice = try await play.register("alice")
                let first = try await alice.login(platform: platforms.0).connect()
                let second: Result<Login, any Error>
                do { second = .success(try await alice.login(platform: platforms.1)) } catch { second = .failure(error) }
                try await story(first, second)
            }
        }

        @Test("Policy all: both stay connected", arguments: Stage.allCases)
        func all(stage: Stage) async throws {
            try await twoLogins("all", on: stage, platforms: ("linux", "linux")) {
                (first: PlaySocket, second: Result<Login, any Error>) async throws -> Void in
                #expect(try await second.get().connect().isAlive())
                #expect(try await first.isAlive())
            }
        }

        @Test("Policy one-per-platform: the same platform replaces, another one does not", arguments: Stage.allCases)
        func onePerPlatform(stage: Stage) async throws {
            try await twoLogins("one-per-platform", on: stage, platforms: ("linux", "ios")) {
                (first: PlaySocket, second: Result<Login, any Error>) async throws -> Void in
                #expect(try await second.get().connect().isAlive())
                #expect(try await first.isAlive())
            }
            try await twoLogins("one-per-platform", on: stage, platforms: ("linux", "linux")) {
                (first: PlaySocket, second: Result<Login, any Error>) async throws -> Void in
                #expect(try await second.get().connect().isAlive())
                #expect(try await first.closeCode() == .deviceRevoked)
            }
        }

        @Test("Policy single-reject: a second login is refused while the first is connected", arguments: Stage.allCases)
        func singleReject(stage: Stage) async throws {
            try await twoLogins("single-reject", on: stage, platforms: ("linux", "ios")) {
                (first: PlaySocket, second: Result<Login, any Error>) async throws -> Void in
                let refusal = #expect(throws: Play.Refusal.self) { _ = try second.get() }
                #expect(refusal?.status == 403 && refusal?.body.contains("login_refused") == true)
                #expect(try await first.isAlive())
            }
        }

        @Test("Policy single-kick: the second login ends the first", arguments: Stage.allCases)
        func singleKick(stage: Stage) async throws {
            try await twoLogins("single-kick", on: stage, platforms: ("linux", "ios")) {
                (first: PlaySocket, second: Result<Login, any Error>) async throws -> Void in
                #expect(try await second.get().connect().isAlive())
                #expect(try await first.closeCode() == .deviceRevoked)
            }
        }
    }
}
