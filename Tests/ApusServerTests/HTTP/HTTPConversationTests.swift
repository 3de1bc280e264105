import ApusCore
import ApusProtocol
import Foundation
import Testing

@testable import ApusServer

@Suite("HTTP: conversations")
struct HTTPConversationTests {
    private static let path = HTTPPath.conversations

    private static func create(
        _ server: TestServer, _ person: TestServer.Person, _ title: String, _ members: [AccountID], key: String? = nil
    ) async throws -> Answer {
        let request = NewConversationRequest(kind: .group, title: title, members: members)
        return try await server.send(.POST, path, person, request, headers: key.map { [("Idempotency-Key", $0)] } ?? [])
    }

    private static func entries(
        _ server: TestServer, _ person: TestServer.Person, _ id: ConversationID, _ query: String = ""
    ) async throws -> EntryPage {
        try await server.get("\(path)/\(id)/entries\(query)", person).json(EntryPage.self)
    }

    private static func events(_ page: EntryPage) throws -> [SystemEvent] {
        try page.entries.map { entry in
            #expect(entry.kind == .system)
            return try JSONDecoder().decode(SystemEvent.self, from: Data(entry.body.utf8))
        }
    }

    @Test("A direct conversation is made once, whoever asks")
    func direct() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            let first = try await server.send(.POST, Self.path, alice, NewConversationRequest(kind: .direct, members: [bob.id]))
            #expect(first.status == 201)
            let info = try first.json(ConversationInfo.self)
            #expect((info.kind, info.peer, info.memberCount, info.head) == (.direct, bob.id, 2, 0))
            #expect(first.headers.first(name: "Location") == "\(Self.path)/\(info.id)")
            let second = try await server.send(.POST, Self.path, bob, NewConversationRequest(kind: .direct, members: [alice.id]))
            let other = try second.json(ConversationInfo.self)
            #expect((other.id, other.peer) == (info.id, alice.id))
            for members in [[], [alice.id], [AccountID(5)], [bob.id, AccountID(5)]] {
                let answer = try await server.send(.POST, Self.path, alice, NewConversationRequest(kind: .direct, members: members))
                #expect(try answer.problem().code == .invalidArgument)
            }
        }
    }

    @Test("A group is made, renamed, grown and left, each by an entry of its log")
    func group() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            let carol = try await server.person("carol")
            let created = try await Self.create(server, alice, "Plans", [bob.id, alice.id, bob.id])
            #expect(created.status == 201)
            let info = try created.json(ConversationInfo.self)
            #expect((info.kind, info.title, info.memberCount, info.head) == (.group, "Plans", 2, 1))

            let renamed = try await server.send(.PATCH, "\(Self.path)/\(info.id)", bob, ConversationUpdate(title: "Plans 2"))
            #expect(try renamed.json(ConversationInfo.self).title == "Plans 2")
            let grown = try await server.send(
                .POST, "\(Self.path)/\(info.id)/members", bob, InviteRequest(accounts: [alice.id, carol.id]))
            #expect(try grown.json(ConversationInfo.self).memberCount == 3)
            #expect(try await server.request(.DELETE, "\(Self.path)/\(info.id)/members/me", token: bob.token).status == 204)

            let page = try await Self.entries(server, alice, info.id)
            #expect((page.from, page.through, page.head, page.reset) == (1, 4, 4, nil))
            #expect(page.entries.map(\.seq) == [1, 2, 3, 4])
            #expect(page.entries.map(\.sender) == [alice.id, bob.id, bob.id, bob.id])
            #expect(
                try Self.events(page) == [
                    SystemEvent(event: .created, accounts: [bob.id], title: "Plans"), SystemEvent(event: .renamed, title: "Plans 2"),
                    SystemEvent(event: .joined, accounts: [carol.id]), SystemEvent(event: .left, accounts: [bob.id]),
                ])
            let members = try await server.get("\(Self.path)/\(info.id)/members", alice).json(MemberList.self).members
            #expect(members.map(\.account) == [alice.id, carol.id])
            #expect(members.map(\.role) == [.owner, .member])
            #expect(members.map(\.joined) == [1, 3])
            // Carol sees what was written since she joined; Bob what was written until he left.
            #expect(try await Self.entries(server, carol, info.id).entries.map(\.seq) == [3, 4])
            #expect(try await Self.entries(server, bob, info.id).entries.map(\.seq) == [1, 2, 3, 4])
        }
    }

    @Test("What is no change, or not allowed in this conversation, is refused")
    func refusals() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            let group = try await Self.create(server, alice, "Plans", []).json(ConversationInfo.self).id
            let direct = try await server.send(.POST, Self.path, alice, NewConversationRequest(kind: .direct, members: [bob.id]))
                .json(ConversationInfo.self).id
            func code(_ answer: Answer) throws -> ErrorCode { try answer.problem().code }
            for title in ["", "  ", "a\u{7}b", String(repeating: "é", count: 129)] {
                #expect(try code(try await Self.create(server, alice, title, [])) == .invalidArgument)
                let answer = try await server.send(.PATCH, "\(Self.path)/\(group)", alice, ConversationUpdate(title: title))
                #expect(try code(answer) == .invalidArgument)
            }
            #expect(try code(try await Self.create(server, alice, "Plans", [AccountID(5)])) == .invalidArgument)
            let many = (0...UInt64(ConversationRules.membersPerRequestMax)).map { AccountID($0 + 1) }
            #expect(try code(try await Self.create(server, alice, "Plans", many)) == .invalidArgument)
            for accounts in [[], [AccountID(5)]] {
                let answer = try await server.send(.POST, "\(Self.path)/\(group)/members", alice, InviteRequest(accounts: accounts))
                #expect(try code(answer) == .invalidArgument)
            }
            #expect(
                try code(try await server.send(.PATCH, "\(Self.path)/\(direct)", alice, ConversationUpdate(title: "x"))) == .invalidArgument
            )
            #expect(
                try code(try await server.request(.DELETE, "\(Self.path)/\(direct)/members/me", token: alice.token)) == .invalidArgument)
            #expect(try await Self.entries(server, alice, group).head == 1)
        }
    }

    @Test("Strangers get the same answer for a conversation that exists and one that does not")
    func strangers() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let eve = try await server.person("eve")
            let group = try await Self.create(server, alice, "Plans", []).json(ConversationInfo.self).id
            for id in [group, ConversationID(77)] {
                let one = "\(Self.path)/\(id)"
                let answers = [
                    try await server.get(one, eve), try await server.get(one + "/members", eve),
                    try await server.get(one + "/entries", eve),
                    try await server.send(.PATCH, one, eve, ConversationUpdate(title: "mine")),
                    try await server.send(.POST, one + "/members", eve, InviteRequest(accounts: [eve.id])),
                    try await server.request(.DELETE, one + "/members/me", token: eve.token),
                ]
                for answer in answers {
                    #expect(answer.status == 403)
                    let problem = try answer.problem()
                    #expect((problem.code, problem.detail) == (.notMember, "you are not a member of this conversation"))
                }
            }
            #expect(try await server.get(Self.path, eve).json(ConversationList.self).conversations.isEmpty)
        }
    }

    @Test("A repeated request with its Idempotency-Key makes one group, one invitation, one departure")
    func idempotency() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let bob = try await server.person("bob")
            let first = try await Self.create(server, alice, "Plans", [bob.id], key: "k1").json(ConversationInfo.self)
            let again = try await Self.create(server, alice, "Plans", [bob.id], key: "k1")
            #expect(again.status == 201)
            #expect(try again.json(ConversationInfo.self) == first)
            #expect(try await Self.create(server, alice, "Other", [bob.id], key: "k1").problem().code == .conflict)
            let bobs = try await Self.create(server, bob, "Plans", [], key: "k1").json(ConversationInfo.self)
            #expect(bobs.id != first.id)
            #expect(try await server.get(Self.path, alice).json(ConversationList.self).conversations.count == 1)

            let one = "\(Self.path)/\(first.id)"
            let carol = try await server.register("carol")
            for _ in 0..<2 {
                let answer = try await server.send(
                    .POST, one + "/members", bob, InviteRequest(accounts: [carol]), headers: [("Idempotency-Key", "k2")])
                #expect(answer.status == 200)
            }
            for _ in 0..<2 {
                let answer = try await server.request(
                    .DELETE, one + "/members/me", token: bob.token, headers: [("Idempotency-Key", "k3")])
                #expect(answer.status == 204)
            }
            #expect(try Self.events(try await Self.entries(server, alice, first.id)).map(\.event) == [.created, .joined, .left])
            let long = try await Self.create(server, alice, "Plans", [], key: String(repeating: "k", count: 65))
            #expect(try long.problem().code == .invalidArgument)
        }
    }

    @Test("Conversations, members and entries come in pages that join without gap or overlap")
    func pages() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            var members: [AccountID] = []
            for index in 0..<4 { members.append(try await server.register("member\(index)")) }
            var groups: [ConversationID] = []
            for index in 0..<5 {
                groups.append(try await Self.create(server, alice, "Group \(index)", members).json(ConversationInfo.self).id)
            }
            var found: [ConversationID] = []
            var next: ConversationID?
            repeat {
                let query = next.map { "&after=\($0)" } ?? ""
                let page = try await server.get("\(Self.path)?limit=2\(query)", alice).json(ConversationList.self)
                found += page.conversations.map(\.id)
                next = page.next
            } while next != nil
            #expect(found == groups.sorted())

            var accounts: [AccountID] = []
            var after: AccountID?
            repeat {
                let query = after.map { "&after=\($0)" } ?? ""
                let page = try await server.get("\(Self.path)/\(groups[0])/members?limit=2\(query)", alice).json(MemberList.self)
                accounts += page.members.map(\.account)
                after = page.next
            } while after != nil
            #expect(accounts == (members + [alice.id]).sorted())

            for index in 0..<5 {
                _ = try await server.send(.PATCH, "\(Self.path)/\(groups[0])", alice, ConversationUpdate(title: "Name \(index)"))
            }
            let first = try await Self.entries(server, alice, groups[0], "?limit=4")
            #expect((first.through, first.head) == (4, 6))
            let rest = try await Self.entries(server, alice, groups[0], "?from=\(first.through + 1)&limit=4")
            #expect(rest.entries.map(\.seq) == [5, 6])
            #expect(try await Self.entries(server, alice, groups[0], "?limit=100000").through == 6)
            // A reader whose cursor is ahead of the log (restored from a backup) is told to start over.
            #expect(try await Self.entries(server, alice, groups[0], "?from=9").reset == 1)
            for query in ["?from=0", "?from=x", "?limit=0", "?limit=x"] {
                let answer = try await server.get("\(Self.path)/\(groups[0])/entries\(query)", alice)
                #expect(try answer.problem().code == .invalidArgument)
            }
            #expect(try await server.get("\(Self.path)?after=x", alice).problem().code == .invalidArgument)
        }
    }

    @Test("The socket node is named by the host under which the client found the API", arguments: ["127.0.0.1", "::", "203.0.113.7"])
    func socketNode(bound: String) async throws {
        var options = TestServer.Options()
        options.socket = NetworkAddress(host: bound, port: 9000)
        try await TestServer.run(options) { server in
            let alice = try await server.person("alice")
            func url(_ host: String) async throws -> String {
                let answer = try await server.request(.GET, HTTPPath.socketNode, token: alice.token, headers: [("Host", host)])
                return try answer.json(SocketNode.self).url
            }
            let isPublic = bound == "203.0.113.7"
            #expect(try await url("chat.example.com:8080") == "ws://\(isPublic ? bound : "chat.example.com"):9000/v1/socket")
            #expect(try await url("[2001:db8::1]:8080") == "ws://\(isPublic ? bound : "[2001:db8::1]"):9000/v1/socket")
            #expect(try await url("evil/../x") == "ws://\(NetworkAddress(host: bound, port: 9000))/v1/socket")
        }
    }
}
