import ApusCore
import ApusProtocol
import Testing

@testable import ApusServer

@Suite("Two socket nodes", .timeLimit(.minutes(1)))
struct TwoNodesTests {
    @Test("people on two nodes chat directly, with typing and read marks, before any sweep")
    func direct() async throws {
        try await TwoNodes.run { cluster, a, b in
            let chat = try await cluster.direct(1, 2)
            let alice = try await cluster.connect("alice", to: a)
            let bob = try await cluster.connect("bob", to: b)
            try await alice.say("hello", in: chat)
            #expect(try await bob.next(1) == ["1:hello"])
            try await bob.say("hi", in: chat)
            try await bob.say("there", in: chat)
            #expect(try await alice.next(2) == ["2:hi", "3:there"])
            var typing = WireTyping()
            typing.conversation = chat.rawValue
            try await alice.send(.typing(typing))
            #expect(try await bob.next(1) == ["typing"])
            var read = WireRead()
            read.conversation = chat.rawValue
            read.read = 3
            try await alice.send(.read(read))
            #expect(try await bob.next(1) == ["read"])
        }
    }

    @Test("a group hears each message once and in order on every node, small as large", arguments: [256, 2])
    func group(lookupMembersMax: Int) async throws {
        try await TwoNodes.run(.init(lookupMembersMax: lookupMembersMax)) { cluster, a, b in
            let alice = try await cluster.connect("alice", to: a)
            let bob = try await cluster.connect("bob", to: b)
            let carol = try await cluster.connect("carol", to: b)
            let carolToo = try await cluster.connect("carol", to: a)
            let group = try await cluster.group([1, 2, 3], through: a)
            for client in [alice, bob, carol, carolToo] { #expect(try await client.next(1) == ["1:system"]) }
            for index in 1...20 { try await alice.say("a\(index)", in: group) }
            for client in [bob, carol, carolToo] { #expect(try await client.next(20) == (1...20).map { "\($0 + 1):a\($0)" }) }
            try await carol.say("c", in: group)
            for client in [alice, bob, carolToo] { #expect(try await client.next(1) == ["22:c"]) }
        }
    }

    @Test("who comes hears what is said from then on, who leaves hears nothing more, small as large", arguments: [256, 2])
    func comeAndGo(lookupMembersMax: Int) async throws {
        try await TwoNodes.run(.init(lookupMembersMax: lookupMembersMax)) { cluster, a, b in
            let group = try await cluster.group([1, 2, 3], through: a)
            let chat = try await cluster.direct(1, 3)
            let alice = try await cluster.connect("alice", to: a)
            let carol = try await cluster.connect("carol", to: b)
            let dave = try await cluster.connect("dave", to: b)
            try await alice.say("before", in: group)
            #expect(try await carol.next(1) == ["2:before"])
            try await cluster.change(group, by: 1, .join([AccountID(4)]), .joined, accounts: [4], through: a)
            #expect(try await dave.next(1) == ["3:system"])
            #expect(try await carol.next(1) == ["3:system"])
            try await cluster.change(group, by: 3, .leave, .left, accounts: [3], through: a)
            #expect(try await carol.next(1) == ["4:system"])
            try await alice.say("after", in: group)
            #expect(try await dave.next(2) == ["4:system", "5:after"])
            // Had the last one gone to carol, it would have come before this.
            try await alice.say("carol?", in: chat)
            #expect(try await carol.next(1) == ["1:carol?"])
        }
    }

    @Test("who was away does not see what was said meanwhile, also when it is sent a second time once he is back")
    func repetitionAfterReturn() async throws {
        try await TwoNodes.run { cluster, a, b in
            let group = try await cluster.group([1, 2, 4], through: a)
            let alice = try await cluster.connect("alice", to: a)
            let dave = try await cluster.connect("dave", to: b)
            try await alice.say("before", in: group)
            #expect(try await dave.next(1) == ["2:before"])
            try await cluster.change(group, by: 4, .leave, .left, accounts: [4], through: a)
            #expect(try await dave.next(1) == ["3:system"])
            try await alice.say("not for dave", in: group)
            // His node does not hear that he is back.
            cluster.isRelayOn.withLockedValue { $0 = false }
            try await cluster.change(group, by: 1, .join([AccountID(4)]), .joined, accounts: [4], through: a)
            try await eventually { cluster.dropped.withLockedValue { $0 } > 0 }
            cluster.isRelayOn.withLockedValue { $0 = true }
            try await alice.say("not for dave", in: group)
            try await alice.say("after", in: group)
            #expect(try await dave.next(2) == ["5:system", "6:after"])
        }
    }

    @Test("with the relay switched off messages arrive within a sweep interval, each once and in order")
    func relayOff() async throws {
        try await TwoNodes.run(.init(sweepInterval: .seconds(1))) { cluster, a, b in
            let chat = try await cluster.direct(1, 2)
            let alice = try await cluster.connect("alice", to: a)
            let bob = try await cluster.connect("bob", to: b)
            try await alice.say("with", in: chat)
            #expect(try await bob.next(1) == ["1:with"])
            cluster.isRelayOn.withLockedValue { $0 = false }
            let begin = ContinuousClock.now
            for index in 1...5 { try await alice.say("without \(index)", in: chat) }
            #expect(try await bob.next(5) == (1...5).map { "\($0 + 1):without \($0)" })
            // The interval, and patience with a busy machine.
            #expect(ContinuousClock.now - begin < .seconds(5))
            cluster.isRelayOn.withLockedValue { $0 = true }
            try await alice.say("with again", in: chat)
            #expect(try await bob.next(1) == ["7:with again"])
        }
    }

    @Test("stale routes lose nothing: one that is missing is made up for by the sweep, one too many leads nowhere")
    func staleRoutes() async throws {
        try await TwoNodes.run(.init(sweepInterval: .seconds(1))) { cluster, a, b in
            let chat = try await cluster.direct(1, 2)
            let alice = try await cluster.connect("alice", to: a)
            let bob = try await cluster.connect("bob", to: b)
            for node in [NodeID(number: 2, epoch: 8), NodeID(number: 7, epoch: 1), a.id] {
                try await cluster.routes.add(Route(session: SessionID(1), account: AccountID(2), device: DeviceID(2), node: node))
            }
            try await alice.say("too many", in: chat)
            #expect(try await bob.next(1) == ["1:too many"])
            for route in try await cluster.routes.routes(of: AccountID(2)) { try await cluster.routes.remove(route) }
            for index in 1...3 { try await alice.say("none \(index)", in: chat) }
            #expect(try await bob.next(3) == ["2:none 1", "3:none 2", "4:none 3"])
        }
    }

    @Test("both nodes write to one conversation at once: all readers see the same order without gaps")
    func bothWrite() async throws {
        try await TwoNodes.run { cluster, a, b in
            let group = try await cluster.group([1, 2, 3, 4], through: a)
            let alice = try await cluster.connect("alice", to: a)
            let bob = try await cluster.connect("bob", to: b)
            let readers = [try await cluster.connect("carol", to: a), try await cluster.connect("dave", to: b)]
            // From here on the readers have a cursor, and what comes out of turn is put right by the node.
            try await alice.say("first", in: group)
            for reader in readers { #expect(try await reader.next(1) == ["2:first"]) }
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for (client, name) in [(alice, "a"), (bob, "b")] {
                    tasks.addTask { for index in 1...100 { try await client.say("\(name)\(index)", in: group) } }
                }
                try await tasks.waitForAll()
            }
            let seen = try await readers[0].next(200)
            #expect(try await readers[1].next(200) == seen)
            #expect(seen.compactMap { $0.split(separator: ":").first.flatMap { Int($0) } } == Array(3...202))
        }
    }

    @Test("revoking a device closes its connection on the other node")
    func revoke() async throws {
        try await TwoNodes.run { cluster, a, b in
            let bob = try await cluster.connect("bob", to: b)
            try await a.sessions.closeSessions(of: [DeviceID(2)], account: AccountID(2), code: .deviceRevoked)
            #expect(try await bob.closeCode() == .deviceRevoked)
            try await eventually { try await cluster.routes.routes(of: AccountID(2)).isEmpty }
        }
    }
}
