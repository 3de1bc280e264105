import ApusCore
import ApusProtocol
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
}
