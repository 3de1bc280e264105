import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import Testing

@testable import ApusServer

@Suite("HTTP: revoked devices", .timeLimit(.minutes(1)))
struct HTTPDeviceCheckTests {
    private static func run(_ body: @Sendable (TestServer, WatchedDevices) async throws -> Void) async throws {
        var options = TestServer.Options()
        let devices = WatchedDevices(options.store)
        options.devices = devices
        try await TestServer.run(options) { try await body($0, devices) }
    }

    @Test("A revoked device's access token opens nothing from the next request on")
    func revokedHere() async throws {
        try await Self.run { server, _ in
            let phone = try await server.person("alice")
            let laptop = try await server.login("alice")
            let paths = [HTTPPath.account, HTTPPath.conversations, HTTPPath.socketNode]
            for path in paths { #expect(try await server.get(path, phone).status == 200) }
            #expect(try await server.request(.DELETE, "\(HTTPPath.devices)/\(phone.device)", token: laptop.token).status == 204)
            for path in paths {
                #expect(try await server.get(path, phone).problem().code == .unauthenticated)
                #expect(try await server.get(path, laptop).status == 200)
            }
        }
    }

    @Test("A revocation by another process holds after some seconds")
    func revokedElsewhere() async throws {
        try await Self.run { server, _ in
            let alice = try await server.person("alice")
            #expect(try await server.get(HTTPPath.account, alice).status == 200)
            _ = try await server.store.revoke([alice.device], of: alice.id, at: server.clock.now)
            server.clock.advance(.milliseconds(4999))
            #expect(try await server.get(HTTPPath.account, alice).status == 200)
            server.clock.advance(.milliseconds(1))
            #expect(try await server.get(HTTPPath.account, alice).problem().code == .unauthenticated)
        }
    }

    @Test("Two hundred requests of a device cost the store one question")
    func reads() async throws {
        try await Self.run { server, devices in
            let alice = try await server.person("alice")
            for _ in 0..<200 { #expect(try await server.get(HTTPPath.account, alice).status == 200) }
            #expect(devices.questions == 1)
        }
    }

    @Test(
        "While the store fails or hangs, requests that would need it get 503 in time, and those it knows about go on",
        arguments: [true, false])
    func unavailable(hangs: Bool) async throws {
        try await Self.run { server, devices in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            #expect(try await server.get(HTTPPath.account, bob).status == 200)
            devices.mode = hangs ? .hanging : .failing
            let answer = try await server.get(HTTPPath.account, alice)
            #expect(answer.status == 503)
            #expect(try answer.problem().code == .storeUnavailable)
            #expect(answer.headers.first(name: "Retry-After") != nil)
            #expect(try await server.get(HTTPPath.account, bob).status == 200)
            devices.mode = .working
            #expect(try await server.get(HTTPPath.account, alice).status == 200)
        }
    }

    @Test("An answer that was on its way while the device was revoked does not bring the device back")
    func race() async throws {
        let store = MemoryStore()
        let now = TestClock().now
        let device = Device(
            id: DeviceID(1), account: AccountID(1), name: "", platform: "ios", createdAt: now, lastSeenAt: now)
        try await store.create(device, token: RefreshTokenRecord(hash: [1], expiresAt: now + .seconds(100)))
        let devices = WatchedDevices(store)
        let check = DeviceCheck(devices: devices, clock: TestClock())
        devices.onAnswer = {
            _ = try await store.revoke([device.id], of: device.account, at: now)
            check.revoked([device.id])
        }
        await #expect(throws: ApusError.self) { try await check.check(device.id) }
        await #expect(throws: ApusError.self) { try await check.check(device.id) }
        #expect(devices.questions == 1)
    }

    @Test("So many answers are kept, and the oldest are forgotten")
    func bound() async throws {
        let store = MemoryStore()
        let now = TestClock().now
        for id in 1...20 as ClosedRange<UInt64> {
            let device = Device(
                id: DeviceID(id), account: AccountID(1), name: "", platform: "ios", createdAt: now, lastSeenAt: now)
            try await store.create(device, token: RefreshTokenRecord(hash: [UInt8(id)], expiresAt: now + .seconds(100)))
        }
        let devices = WatchedDevices(store)
        let check = DeviceCheck(devices: devices, clock: TestClock(), countMax: 10)
        for id in 1...20 as ClosedRange<UInt64> { try await check.check(DeviceID(id)) }
        #expect(devices.questions == 20)
        try await check.check(DeviceID(20))
        #expect(devices.questions == 20)
        try await check.check(DeviceID(1))
        #expect(devices.questions == 21)
    }
}

/// A store that counts what it is asked and can be told to fail.
private final class WatchedDevices: DeviceStore {
    enum Mode { case working, failing, hanging }

    private struct State {
        var questions = 0
        var mode = Mode.working
        var onAnswer: (@Sendable () async throws -> Void)?
    }

    private let store: MemoryStore
    private let state = NIOLockedValueBox(State())

    init(_ store: MemoryStore) { self.store = store }

    var questions: Int { state.withLockedValue(\.questions) }

    var mode: Mode {
        get { state.withLockedValue(\.mode) }
        set { state.withLockedValue { $0.mode = newValue } }
    }

    /// Runs after the store has answered and before the answer is given.
    var onAnswer: (@Sendable () async throws -> Void)? {
        get { state.withLockedValue(\.onAnswer) }
        set { state.withLockedValue { $0.onAnswer = newValue } }
    }

    func isActive(_ id: DeviceID) async throws -> Bool {
        let (mode, onAnswer) = state.withLockedValue { state in
            state.questions += 1
            return (state.mode, state.onAnswer)
        }
        switch mode {
        case .working: break
        case .failing: throw ApusError(.storeUnavailable, "as the test wants it")
        case .hanging: try await Task.sleep(for: .seconds(60))
        }
        let isActive = try await store.isActive(id)
        try await onAnswer?()
        return isActive
    }

    func create(_ device: Device, token: RefreshTokenRecord) async throws { try await store.create(device, token: token) }
    func devices(of account: AccountID) async throws -> [Device] { try await store.devices(of: account) }
    func rotate(_ old: [UInt8], to new: RefreshTokenRecord, at: Timestamp, grace: Duration) async throws -> RefreshRotation {
        try await store.rotate(old, to: new, at: at, grace: grace)
    }
    func device(refreshToken hash: [UInt8]) async throws -> Device? { try await store.device(refreshToken: hash) }
    func revoke(_ ids: [DeviceID], of account: AccountID, at: Timestamp) async throws -> [DeviceID] {
        try await store.revoke(ids, of: account, at: at)
    }
}
