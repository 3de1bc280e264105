import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import Testing

@testable import ApusServer

@Suite("HTTP: devices")
struct HTTPDeviceTests {
    private static func options(_ policy: DevicePolicy) -> TestServer.Options {
        var options = TestServer.Options()
        options.auth.devicePolicy = policy
        return options
    }

    private static func devices(_ server: TestServer, _ person: TestServer.Person) async throws -> [DeviceID] {
        try await server.store.devices(of: person.id).map(\.id)
    }

    @Test("The list shows every device, which of them asks and which are connected")
    func list() async throws {
        try await TestServer.run { server in
            let phone = try await server.person("alice")
            server.clock.advance(.seconds(60))
            let laptop = try await server.login("alice", ["device_name": "Laptop", "platform": "linux"])
            try await server.connect(phone)
            let devices = try await server.get(HTTPPath.devices, laptop).json(DeviceList.self).devices
            #expect(devices.map(\.id) == [phone.device, laptop.device])
            #expect(devices.map(\.current) == [false, true])
            #expect(devices.map(\.online) == [true, false])
            #expect(devices[1].createdAt == server.clock.now)
        }
    }

    @Test("Ending one device closes its sessions and leaves the others; somebody else's device is not found")
    func endOne() async throws {
        try await TestServer.run { server in
            let phone = try await server.person("alice")
            let laptop = try await server.login("alice")
            let bob = try await server.person("bob")
            for id in [bob.device, DeviceID(1)] {
                let answer = try await server.request(.DELETE, "\(HTTPPath.devices)/\(id)", token: phone.token)
                #expect(try answer.problem().code == .notFound)
            }
            #expect(server.sessions.all.isEmpty)
            #expect(try await server.request(.DELETE, "\(HTTPPath.devices)/\(laptop.device)", token: phone.token).status == 204)
            #expect(server.sessions.all == [.init(device: laptop.device, account: laptop.id, code: .deviceRevoked)])
            #expect(try await server.refresh(laptop.refreshToken).status == 400)
            // Logging out is ending the device that asks; what it still holds opens nothing that concerns logins.
            #expect(try await server.request(.DELETE, "\(HTTPPath.devices)/\(phone.device)", token: phone.token).status == 204)
            #expect(try await server.request(.DELETE, HTTPPath.devices, token: phone.token).problem().code == .unauthenticated)
            #expect(try await server.refresh(bob.refreshToken).status == 200)
        }
    }

    @Test("Ending all devices spares the asking one only if it says so")
    func endAll() async throws {
        try await TestServer.run { server in
            let phone = try await server.person("alice")
            let laptop = try await server.login("alice")
            let odd = try await server.request(.DELETE, HTTPPath.devices + "?keep=all", token: phone.token)
            #expect(try odd.problem().code == .invalidArgument)
            #expect(try await server.request(.DELETE, HTTPPath.devices + "?keep=current", token: phone.token).status == 204)
            #expect(server.sessions.devices == [laptop.device])
            #expect(try await Self.devices(server, phone) == [phone.device])
            #expect(try await server.request(.DELETE, HTTPPath.devices, token: phone.token).status == 204)
            #expect(try await Self.devices(server, phone) == [])
        }
    }

    @Test("Policy all: logins leave each other alone; a device that logs in again is replaced")
    func policyAll() async throws {
        try await TestServer.run(Self.options(.all)) { server in
            let first = try await server.person("alice")
            let second = try await server.login("alice")
            let again = try await server.login("alice", ["device": first.device.description])
            #expect(try await Self.devices(server, first) == [second.device, again.device])
            #expect(server.sessions.devices == [first.device])
            let bob = try await server.person("bob")
            _ = try await server.login("alice", ["device": bob.device.description])
            #expect(try await server.refresh(bob.refreshToken).status == 200)
        }
    }

    @Test("Policy one-per-platform: a login ends the other device of its platform")
    func policyOnePerPlatform() async throws {
        try await TestServer.run(Self.options(.onePerPlatform)) { server in
            _ = try await server.register("alice")
            let phone = try await server.login("alice", ["platform": "ios"])
            let laptop = try await server.login("alice", ["platform": "linux"])
            let newPhone = try await server.login("alice", ["platform": "iOS"])
            #expect(try await Self.devices(server, phone) == [laptop.device, newPhone.device])
            #expect(server.sessions.all == [.init(device: phone.device, account: phone.id, code: .deviceRevoked)])
        }
    }

    @Test("Policy single-reject: a second login is refused while the first device is connected, and takes its place when it is not")
    func policySingleReject() async throws {
        try await TestServer.run(Self.options(.singleReject)) { server in
            let first = try await server.person("alice")
            try await server.connect(first)
            let refused = try await server.loginAnswer("alice")
            #expect(refused.status == 403)
            let error = try refused.oauthError()
            #expect((error.error, error.code) == ("access_denied", .loginRefused))
            #expect(try await Self.devices(server, first) == [first.device])
            // The device itself may log in again.
            let again = try await server.login("alice", ["device": first.device.description])
            #expect(try await Self.devices(server, first) == [again.device])
            try await server.routes.remove(
                Route(session: SessionID(first.device.rawValue), account: first.id, device: first.device, node: NodeID(number: 0, epoch: 0))
            )
            let second = try await server.login("alice")
            #expect(try await Self.devices(server, first) == [second.device])
        }
    }

    @Test("Policy single-kick: a login ends all others")
    func policySingleKick() async throws {
        try await TestServer.run(Self.options(.singleKick)) { server in
            let first = try await server.person("alice")
            try await server.connect(first)
            let second = try await server.login("alice")
            #expect(try await Self.devices(server, first) == [second.device])
            #expect(server.sessions.all == [.init(device: first.device, account: first.id, code: .deviceRevoked)])
        }
    }

    @Test(
        "Of many logins at once under a single-device policy exactly one device is left",
        arguments: [DevicePolicy.singleKick, .singleReject])
    func loginRace(policy: DevicePolicy) async throws {
        try await TestServer.run(Self.options(policy)) { server in
            let alice = try await server.person("alice")
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 { group.addTask { try await server.loginAnswer("alice").status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == Array(repeating: 200, count: 8))
            #expect(try await Self.devices(server, alice).count == 1)
        }
    }

    @Test("A login that was waiting when the password changed is refused")
    func loginDuringPasswordChange() async throws {
        let hasher = PausingHasher()
        var options = TestServer.Options()
        options.hasher = hasher
        try await TestServer.run(options) { server in
            let phone = try await server.person("alice")
            async let late = server.loginAnswer("alice", ["device_name": "thief"])
            await hasher.verificationIsHeld()
            let change = PasswordChange(current: TestServer.password, new: "new password")
            #expect(try await server.send(.POST, HTTPPath.password, phone, change).status == 204)
            hasher.resume()
            #expect(try await late.oauthError().error == "invalid_grant")
            #expect(try await Self.devices(server, phone) == [phone.device])
        }
    }
}

/// Compares plainly, and holds the second verification back until it is told to go on.
private final class PausingHasher: PasswordHasher {
    private let gate = AsyncStream.makeStream(of: Void.self)
    private let entered = AsyncStream.makeStream(of: Void.self)
    private let verifications = NIOLockedValueBox(0)

    func hash(_ password: String) async throws -> String { password }

    func verify(_ password: String, against hash: String?) async throws -> Bool {
        // The first verification is the login of `person`; the second one is held.
        let number = verifications.withLockedValue { count in
            count += 1
            return count
        }
        if number == 2 {
            entered.continuation.yield()
            for await _ in gate.stream { break }
        }
        return password == hash
    }

    func isOutdated(_ hash: String) -> Bool { false }

    /// Returns once the verification waits.
    func verificationIsHeld() async {
        for await _ in entered.stream { break }
    }

    func resume() { gate.continuation.yield() }
}
