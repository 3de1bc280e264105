import ApusProtocol
import Foundation
import Testing

extension Plays {
    @Suite("Plays: restarts", .serialized, .timeLimit(.minutes(2)))
    struct RestartPlays {
        @Test(
            "A scheduled message survives a restart and goes out once, at its time, with the id of its acknowledgement",
            arguments: Stage.allCases, Play.End.allCases
        )
        func scheduled(stage: Stage, end: Play.End) async throws {
            try await Play.run(on: stage) { play in
                let (_, aliceDevice, alice) = try await play.connect("alice")
                let bob = try await play.register("bob")
                let bobDevice = try await bob.login()
                let room = try await aliceDevice.direct(with: bob)
                let due = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) + 4_000)
                let promised = try await alice.say("later", in: room, clientID: "later-1", deliverAt: due)
                #expect(promised.seq == 0 && promised.deliverAt == due)

                try await play.restart(end)
                // It may have gone out while nobody was connected, if the start took that long.
                let listening = try await bobDevice.connect()
                if try await bobDevice.history(of: room).isEmpty { #expect(try await listening.nextEntry().id == promised.id) }
                let entry = try #require(try await bobDevice.history(of: room).first)
                #expect(entry.body == "later" && entry.id == promised.id && entry.seq == 1)
                #expect(entry.at >= due)
                // The same send again is answered, not done, again.
                let again = try await aliceDevice.connect().say("later", in: room, clientID: "later-1", deliverAt: due)
                #expect(again.id == promised.id)
                #expect(try await bobDevice.history(of: room).count == 1)
            }
        }

        @Test(
            "What was acknowledged is there after a restart, a repeated send gets its first answer, and numbers go on",
            arguments: Stage.allCases, Play.End.allCases)
        func acknowledged(stage: Stage, end: Play.End) async throws {
            try await Play.run(on: stage) { play in
                let (_, aliceDevice, alice) = try await play.connect("alice")
                let bob = try await play.register("bob")
                let bobDevice = try await bob.login()
                let room = try await aliceDevice.group("plans", [bob])
                var acknowledgements: [AckFrame] = []
                for number in 1...20 {
                    acknowledgements.append(try await alice.say("message \(number)", in: room, clientID: "m-\(number)"))
                }
                try await play.restart(end)

                // The token of before is valid still: keys and devices survive too.
                let back = try await aliceDevice.connect()
                #expect(try await back.say("message 7", in: room, clientID: "m-7") == acknowledgements[6])
                let next = try await back.say("message 21", in: room, clientID: "m-21")
                #expect(next.seq == acknowledgements[19].seq + 1)
                let log = try await bobDevice.history(of: room)
                #expect(log.map(\.seq) == Array(1...next.seq))
                #expect(log.filter { $0.kind == .text }.map(\.body) == (1...21).map { "message \($0)" })
            }
        }

        @Test(
            "Before it ends, a server that was told to says goaway, and closes with 4000", arguments: Stage.allCases,
            PlaySocket.Carrier.allCases)
        func goaway(stage: Stage, carrier: PlaySocket.Carrier) async throws {
            try await Play.run(on: stage, drainSeconds: 1) { play in
                let alice = try await play.register("alice").login().connect(carrier)
                try await play.stop(.terminated)
                guard case .frame(.other(let frame)) = try await alice.next(), case .goaway = frame.body else {
                    Issue.record("no goaway came")
                    return
                }
                #expect(try await alice.closeCode() == .goingAway)
            }
        }
    }
}
