import ApusProtocol
import Testing

@testable import ApusCore

@Suite("Accounts: rules")
struct AccountRulesTests {
    private func refused(_ body: () throws -> Void) -> Bool {
        do {
            try body()
            return false
        } catch { return (error as? ApusError)?.code == .invalidArgument }
    }

    @Test("Upper case in a username is folded", arguments: [("alice", "alice"), ("A.b_c-9", "a.b_c-9"), ("007", "007")])
    func usernames(text: String, value: String) throws {
        #expect(try Username(text).value == value)
    }

    @Test(
        "A username out of the rules is refused",
        arguments: ["", "ab", ".ab", "_ab", "-ab", "a b", "äbc", "a\u{0}b", "ab\n", "ＡＢＣ", "abc@d", String(repeating: "a", count: 33)])
    func badUsernames(text: String) {
        #expect(refused { _ = try Username(text) })
    }

    @Test("The shortest and longest username are valid")
    func usernameBounds() throws {
        #expect(try Username("abc").value == "abc")
        #expect(try Username(String(repeating: "a", count: 32)).value.count == 32)
    }

    @Test("A prefix that no username has is known to find nothing")
    func prefixes() {
        #expect(Username.prefix("AL") == "al")
        #expect(Username.prefix(".") == ".")
        #expect(Username.prefix("") == nil)
        #expect(Username.prefix("a%") == nil)
        #expect(Username.prefix(String(repeating: "a", count: 33)) == nil)
    }

    @Test("A password has 8 to 1,024 bytes, not characters")
    func passwords() throws {
        try AccountRules.check(password: "12345678")
        try AccountRules.check(password: "ééﬁ!")
        try AccountRules.check(password: String(repeating: "x", count: 1024))
        #expect(refused { try AccountRules.check(password: "1234567") })
        #expect(refused { try AccountRules.check(password: String(repeating: "x", count: 1025)) })
    }

    @Test("A profile update changes what it names and nothing else")
    func profile() throws {
        let account = Account(
            id: AccountID(1), username: "alice", displayName: "Alice", avatar: "a", bio: "b", passwordHash: "h",
            createdAt: Timestamp(milliseconds: 0))
        #expect(try AccountRules.applying(ProfileUpdate(), to: account) == account)
        let changed = try AccountRules.applying(ProfileUpdate(avatar: "", bio: "x\ny"), to: account)
        #expect((changed.displayName, changed.avatar, changed.bio, changed.passwordHash) == ("Alice", "", "x\ny", "h"))
        for update in [
            ProfileUpdate(displayName: ""), ProfileUpdate(displayName: "a\nb"), ProfileUpdate(avatar: "a\u{1B}"),
            ProfileUpdate(bio: "\u{0}"),
            ProfileUpdate(displayName: String(repeating: "x", count: 129)), ProfileUpdate(avatar: String(repeating: "x", count: 1025)),
        ] { #expect(refused { _ = try AccountRules.applying(update, to: account) }) }
    }

    @Test("A platform is folded, so that two spellings are one platform")
    func platforms() throws {
        #expect(try AccountRules.platform("iOS") == "ios")
        for text in ["", "a b", "ios\n", String(repeating: "x", count: 33)] { #expect(refused { _ = try AccountRules.platform(text) }) }
    }

    @Test("Members of a request are a set in a fixed order, and not too many")
    func members() throws {
        #expect(try ConversationRules.members([AccountID(3), AccountID(1), AccountID(3)]) == [AccountID(1), AccountID(3)])
        let many = (0...UInt64(ConversationRules.membersPerRequestMax)).map { AccountID($0) }
        #expect(try ConversationRules.members(Array(many.dropLast())).count == ConversationRules.membersPerRequestMax)
        #expect(refused { _ = try ConversationRules.members(many) })
    }
}

@Suite("Accounts: device policy")
struct DevicePolicyTests {
    private func device(_ id: UInt64, _ platform: String, seen: Int64 = 0) -> Device {
        Device(
            id: DeviceID(id), account: AccountID(1), name: "", platform: platform, createdAt: Timestamp(milliseconds: 0),
            lastSeenAt: Timestamp(milliseconds: seen))
    }

    private func ending(_ ids: UInt64...) -> DevicePolicy.Decision { .accept(ending: ids.map { DeviceID($0) }) }

    private var two: [Device] { [device(1, "ios"), device(2, "linux")] }

    @Test("The first login is accepted by every policy", arguments: DevicePolicy.allCases)
    func first(policy: DevicePolicy) {
        #expect(policy.decide(.init(platform: "ios"), devices: [], connected: []) == ending())
    }

    @Test("A device that logs in again is replaced and never in its own way", arguments: DevicePolicy.allCases)
    func again(policy: DevicePolicy) {
        let login = DevicePolicy.Login(platform: "ios", replaces: DeviceID(1))
        #expect(policy.decide(login, devices: [device(1, "ios")], connected: [DeviceID(1)]) == ending(1))
    }

    @Test("A device of another account, or long gone, replaces nothing", arguments: DevicePolicy.allCases)
    func replacesUnknown(policy: DevicePolicy) {
        #expect(policy.decide(.init(platform: "ios", replaces: DeviceID(9)), devices: [], connected: []) == ending())
    }

    @Test("all ends nobody")
    func all() {
        #expect(DevicePolicy.all.decide(.init(platform: "ios"), devices: two, connected: [DeviceID(1)]) == ending())
    }

    @Test("Too many devices end the one that was not seen for the longest time, unless the login replaces one")
    func tooMany() {
        let many = (1...UInt64(DevicePolicy.devicesMax)).map { device($0, "p\($0)", seen: $0 == 7 ? 1 : 100) }
        for policy in [DevicePolicy.all, .onePerPlatform] {
            #expect(policy.decide(.init(platform: "ios"), devices: many, connected: []) == ending(7))
            let replacing = DevicePolicy.Login(platform: "ios", replaces: DeviceID(5))
            #expect(policy.decide(replacing, devices: many, connected: []) == ending(5))
        }
        #expect(DevicePolicy.onePerPlatform.decide(.init(platform: "p9"), devices: many, connected: []) == ending(9))
    }

    @Test("one-per-platform ends the devices of the same platform, connected or not")
    func onePerPlatform() {
        #expect(DevicePolicy.onePerPlatform.decide(.init(platform: "ios"), devices: two, connected: [DeviceID(1)]) == ending(1))
        #expect(DevicePolicy.onePerPlatform.decide(.init(platform: "web"), devices: two, connected: []) == ending())
    }

    @Test("single-reject refuses while any other device is connected, and ends all others when none is")
    func singleReject() {
        #expect(DevicePolicy.singleReject.decide(.init(platform: "ios"), devices: two, connected: [DeviceID(2)]) == .refuse)
        #expect(DevicePolicy.singleReject.decide(.init(platform: "ios"), devices: two, connected: []) == ending(1, 2))
        // A route that outlived its device counts for nothing.
        #expect(DevicePolicy.singleReject.decide(.init(platform: "ios"), devices: two, connected: [DeviceID(9)]) == ending(1, 2))
        let login = DevicePolicy.Login(platform: "ios", replaces: DeviceID(1))
        #expect(DevicePolicy.singleReject.decide(login, devices: two, connected: [DeviceID(2)]) == .refuse)
    }

    @Test("single-kick ends all others")
    func singleKick() {
        #expect(DevicePolicy.singleKick.decide(.init(platform: "ios"), devices: two, connected: [DeviceID(2)]) == ending(1, 2))
    }

    @Test("Policies go by the names of the configuration")
    func names() {
        #expect(DevicePolicy.allCases.map(\.rawValue) == ["all", "one-per-platform", "single-reject", "single-kick"])
    }
}

@Suite("Accounts: key schedule")
struct KeyScheduleTests {
    private let schedule = KeySchedule(rotationAge: .seconds(1000), publicationLead: .seconds(10), tokenLifetime: .seconds(100))

    private func key(_ id: String, at seconds: Int64) -> SigningKey {
        SigningKey(id: id, privatePEM: "", createdAt: time(seconds))
    }

    private func time(_ seconds: Int64) -> Timestamp { Timestamp(milliseconds: seconds * 1000) }

    @Test("A new key signs only after its publication, the very first at once")
    func signing() {
        let first = [key("a", at: 0)]
        #expect(schedule.signingKey(of: [], at: time(0)) == nil)
        #expect(schedule.signingKey(of: first, at: time(0))?.id == "a")
        let two = [key("b", at: 50), key("a", at: 0)]
        #expect(schedule.signingKey(of: two, at: time(59))?.id == "a")
        #expect(schedule.signingKey(of: two, at: time(60))?.id == "b")
        let hasty = [key("c", at: 55), key("b", at: 50), key("a", at: 0)]
        #expect(schedule.signingKey(of: hasty, at: time(62))?.id == "b")
    }

    @Test("A key is due when there is none or the newest is old")
    func due() {
        #expect(schedule.isDue([], at: time(0)))
        let keys = [key("b", at: 500), key("a", at: 0)]
        #expect(!schedule.isDue(keys, at: time(1499)))
        #expect(schedule.isDue(keys, at: time(1500)))
    }

    @Test("A key is forgotten after the last token that it can have signed, and the signing key never")
    func expiry() {
        let keys = [key("c", at: 200), key("b", at: 50), key("a", at: 0)]
        #expect(schedule.expired(keys, at: time(170)).isEmpty)
        #expect(schedule.expired(keys, at: time(171)).map(\.id) == ["a"])
        #expect(schedule.expired(keys, at: time(100_000)).map(\.id) == ["b", "a"])
    }

    @Test("A duration is added to a time of day to the millisecond")
    func addition() {
        #expect(time(1) + .milliseconds(1) == Timestamp(milliseconds: 1001))
        #expect(time(1) + .seconds(-1) == Timestamp(milliseconds: 0))
        #expect(time(0) + .microseconds(1999) == Timestamp(milliseconds: 1))
    }
}
