import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import Foundation
import Testing

@testable import ApusServer

@Suite("HTTP: accounts")
struct HTTPAccountTests {
    @Test("Registering makes an account that can log in, its name folded to lower case")
    func register() async throws {
        try await TestServer.run { server in
            let answer = try await server.send(
                .POST, HTTPPath.accounts, nil, RegisterRequest(username: "Alice.B", password: TestServer.password, displayName: "Alice"))
            #expect(answer.status == 201)
            let profile = try answer.json(AccountProfile.self)
            #expect(profile.username == "alice.b")
            #expect(profile.displayName == "Alice")
            #expect(answer.headers.first(name: "Location") == "/v1/accounts/\(profile.id)")
            #expect(try await server.login("ALICE.b").id == profile.id)
        }
    }

    @Test("A name or password against the rules, and a name that is taken, are refused with their codes")
    func registerRefused() async throws {
        try await TestServer.run { server in
            func code(_ name: String, _ password: String) async throws -> (Int, ErrorCode) {
                let answer = try await server.send(.POST, HTTPPath.accounts, nil, RegisterRequest(username: name, password: password))
                return (answer.status, try answer.problem().code)
            }
            #expect(try await code("al", TestServer.password) == (400, .invalidArgument))
            #expect(try await code("-alice", TestServer.password) == (400, .invalidArgument))
            #expect(try await code("älice", TestServer.password) == (400, .invalidArgument))
            #expect(try await code("alice", "1234567") == (400, .invalidArgument))
            #expect(try await code("alice", String(repeating: "x", count: 1025)) == (400, .invalidArgument))
            _ = try await server.register("alice")
            #expect(try await code("Alice", TestServer.password) == (409, .conflict))
        }
    }

    @Test("A profile is read and changed by its owner; what is absent stays")
    func profile() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            #expect(try await server.get(HTTPPath.account, alice).json(AccountProfile.self).displayName == "alice")
            let changed = try await server.send(.PATCH, HTTPPath.account, alice, ProfileUpdate(displayName: "Alice 🐦", bio: "a\nb"))
            #expect(changed.status == 200)
            _ = try await server.send(.PATCH, HTTPPath.account, alice, ProfileUpdate(avatar: "a.png"))
            let profile = try await server.get(HTTPPath.account, alice).json(AccountProfile.self)
            #expect(profile == AccountProfile(id: alice.id, username: "alice", displayName: "Alice 🐦", avatar: "a.png", bio: "a\nb"))
            for bad in [
                ProfileUpdate(displayName: " "), ProfileUpdate(displayName: "a\u{1B}[2J"),
                ProfileUpdate(bio: String(repeating: "x", count: 1025)),
            ] {
                let answer = try await server.send(.PATCH, HTTPPath.account, alice, bad)
                #expect(answer.status == 400)
                #expect(try answer.problem().code == .invalidArgument)
            }
            #expect(try await server.get(HTTPPath.account, alice).json(AccountProfile.self) == profile)
        }
    }

    @Test("People are found by exact name, by prefix and by ids, bounded")
    func search() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let albert = try await server.register("albert")
            let bob = try await server.register("bob")
            func names(_ query: String) async throws -> [String] {
                try await server.get("\(HTTPPath.accounts)?\(query)", alice).json(AccountList.self).accounts.map(\.username)
            }
            #expect(try await names("username=BOB") == ["bob"])
            #expect(try await names("username=bo") == [])
            #expect(try await names("username=b%20b") == [])
            #expect(try await names("prefix=al") == ["albert", "alice"])
            #expect(try await names("prefix=al&limit=1") == ["albert"])
            #expect(try await names("prefix=%25") == [])
            #expect(try await names("ids=\(bob),\(albert),\(bob),12345") == ["albert", "bob"])
            #expect(try await server.get("\(HTTPPath.accounts)/\(bob)", alice).json(AccountProfile.self).username == "bob")
            #expect(try await server.get("\(HTTPPath.accounts)/99", alice).problem().code == .notFound)
            #expect(try await server.get("\(HTTPPath.accounts)/bob", alice).problem().code == .notFound)
            let many = Array(repeating: "1", count: UserRole.idsMax + 1).joined(separator: ",")
            for query in ["", "?prefix=a&limit=0", "?prefix=a&limit=101", "?prefix=a&limit=x", "?ids=a", "?ids=\(many)", "?ids=1&prefix=a"]
            {
                #expect(try await server.get(HTTPPath.accounts + query, alice).problem().code == .invalidArgument)
            }
        }
    }

    @Test("The online list counts accounts, not connections, and names some of them")
    func online() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            #expect(try await server.get(HTTPPath.online, alice).json(OnlineList.self).count == 0)
            try await server.connect(bob)
            try await server.connect(alice)
            try await server.connect(try await server.login("alice"))
            let list = try await server.get(HTTPPath.online, alice).json(OnlineList.self)
            #expect(list.count == 2)
            #expect(list.accounts.map(\.username) == ["alice", "bob"])
            #expect(try await server.get(HTTPPath.online + "?limit=1", alice).json(OnlineList.self).accounts.count == 1)
        }
    }

    @Test("A new password ends every other device and replaces the old one")
    func changePassword() async throws {
        try await TestServer.run { server in
            let phone = try await server.person("alice")
            let laptop = try await server.login("alice")
            let wrong = try await server.send(.POST, HTTPPath.password, phone, PasswordChange(current: "not this one", new: "new password"))
            #expect(wrong.status == 403)
            #expect(try wrong.problem().code == .forbidden)
            let short = try await server.send(.POST, HTTPPath.password, phone, PasswordChange(current: TestServer.password, new: "short"))
            #expect(try short.problem().code == .invalidArgument)
            #expect(server.sessions.all.isEmpty)
            let change = PasswordChange(current: TestServer.password, new: "new password")
            #expect(try await server.send(.POST, HTTPPath.password, phone, change).status == 204)
            #expect(server.sessions.all == [.init(device: laptop.device, account: laptop.id, code: .deviceRevoked)])
            #expect(try await server.refresh(laptop.refreshToken).status == 400)
            #expect(try await server.refresh(phone.refreshToken).status == 200)
            #expect(try await server.loginAnswer("alice").status == 400)
            #expect(try await server.loginAnswer("alice", ["password": "new password"]).status == 200)
        }
    }

    @Test("A deleted account is gone, with its devices; its name stays taken")
    func deleteAccount() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            #expect(try await server.send(.DELETE, HTTPPath.account, alice, AccountDeletion(password: "wrong one")).status == 403)
            #expect(try await server.send(.DELETE, HTTPPath.account, alice, AccountDeletion(password: TestServer.password)).status == 204)
            #expect(server.sessions.devices == [alice.device])
            #expect(try await server.get("\(HTTPPath.accounts)/\(alice.id)", bob).status == 404)
            #expect(try await server.loginAnswer("alice").status == 400)
            #expect(try await server.refresh(alice.refreshToken).status == 400)
            #expect(try await server.get(HTTPPath.account, alice).problem().code == .unauthenticated)
            let again = try await server.send(
                .POST, HTTPPath.accounts, nil, RegisterRequest(username: "alice", password: TestServer.password))
            #expect(again.status == 409)
        }
    }

    @Test("A deleted account leaves its groups and its direct conversations; others keep the history and can send it nothing more")
    func departure() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            let carol = try await server.person("carol")
            func conversation(_ request: NewConversationRequest) async throws -> ConversationID {
                try await server.send(.POST, HTTPPath.conversations, alice, request).json(ConversationInfo.self).id
            }
            let group = try await conversation(.init(kind: .group, title: "Plans", members: [bob.id, carol.id]))
            let direct = try await conversation(.init(kind: .direct, members: [bob.id]))
            #expect(try await server.send(.DELETE, HTTPPath.account, alice, AccountDeletion(password: TestServer.password)).status == 204)
            while try await !server.store.departing(after: nil, limit: 1).isEmpty { await Task.yield() }

            let members = try await server.get("\(HTTPPath.conversations)/\(group)/members", bob).json(MemberList.self).members
            #expect(members.map(\.account) == [bob.id, carol.id].sorted())
            #expect(members.filter { $0.role == .owner }.count == 1)
            for id in [group, direct] {
                let page = try await server.get("\(HTTPPath.conversations)/\(id)/entries", bob).json(EntryPage.self)
                let last = try #require(page.entries.last)
                #expect(last.sender == alice.id)
                let event = try JSONDecoder().decode(SystemEvent.self, from: Data(last.body.utf8))
                #expect(event == SystemEvent(event: .left, accounts: [alice.id]))
            }
            let info = try await server.get("\(HTTPPath.conversations)/\(direct)", bob).json(ConversationInfo.self)
            #expect((info.peer, info.memberCount, info.head) == (alice.id, 1, 1))
            let frame = SendFrame(
                conversation: direct, clientID: "late", kind: .text, body: "are you there?", deliverAt: server.clock.now + .seconds(60))
            let refusal = await #expect(throws: ApusError.self) { _ = try await server.delivery.schedule(frame, from: bob.id) }
            #expect(refusal?.code == .accountDeleted)
            let again = try await server.send(
                .POST, HTTPPath.conversations, bob, NewConversationRequest(kind: .direct, members: [alice.id]))
            #expect(try again.problem().code == .invalidArgument)
        }
    }

    @Test("An account that is deleted while it is being brought in is taken out again", arguments: [ConversationKind.direct, .group])
    func deletedWhileComing(_ kind: ConversationKind) async throws {
        var options = TestServer.Options()
        let accounts = VanishingAccounts(options.store)
        options.accounts = accounts
        try await TestServer.run(options) { server in
            let bob = try await server.person("bob")
            let alice = try await server.register("alice")
            // After the check that she exists, and as if the departure had looked before she came in.
            accounts.afterLookup = {
                try await server.store.delete(alice, at: server.clock.now)
                try await server.store.setDeparted(alice, at: server.clock.now)
            }
            let request = NewConversationRequest(kind: kind, title: kind == .group ? "Plans" : nil, members: [alice])
            let info = try await server.send(.POST, HTTPPath.conversations, bob, request).json(ConversationInfo.self)
            #expect(info.memberCount == 1)
            #expect(try await server.store.visibility(of: alice, in: info.id)?.isMember == false)
        }
    }
}

/// Does something between the first answer about several accounts and what follows it.
private final class VanishingAccounts: AccountStore {
    private let store: MemoryStore
    private let action = NIOLockedValueBox<(@Sendable () async throws -> Void)?>(nil)

    init(_ store: MemoryStore) { self.store = store }

    var afterLookup: (@Sendable () async throws -> Void)? {
        get { action.withLockedValue { $0 } }
        set { action.withLockedValue { $0 = newValue } }
    }

    func accounts(_ ids: [AccountID]) async throws -> [Account] {
        let found = try await store.accounts(ids)
        let action = self.action.withLockedValue { action in
            defer { action = nil }
            return action
        }
        try await action?()
        return found
    }

    func create(_ account: Account) async throws { try await store.create(account) }
    func account(_ id: AccountID) async throws -> Account? { try await store.account(id) }
    func account(username: String) async throws -> Account? { try await store.account(username: username) }
    func accounts(usernamePrefix prefix: String, limit: Int) async throws -> [Account] {
        try await store.accounts(usernamePrefix: prefix, limit: limit)
    }
    func update(_ account: Account) async throws { try await store.update(account) }
    func setPasswordHash(_ hash: String, replacing old: String, of id: AccountID) async throws -> Bool {
        try await store.setPasswordHash(hash, replacing: old, of: id)
    }
    func delete(_ id: AccountID, at: Timestamp) async throws { try await store.delete(id, at: at) }
    func departing(after: AccountID?, limit: Int) async throws -> [AccountID] { try await store.departing(after: after, limit: limit) }
    func setDeparted(_ id: AccountID, at: Timestamp) async throws { try await store.setDeparted(id, at: at) }
}
