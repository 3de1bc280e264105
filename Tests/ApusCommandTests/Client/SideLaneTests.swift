import NIOConcurrencyHelpers
import Testing

@testable import apus

@Suite("Commands beside the typing", .timeLimit(.minutes(1)))
struct SideLaneTests {
    /// Runs `body` beside a lane, which ends with it.
    private static func withLane(_ waitingMax: Int, _ body: (SideLane) async -> Void) async {
        let lane = SideLane(waitingMax: waitingMax)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await lane.run() }
            await body(lane)
            group.cancelAll()
        }
    }

    @Test("jobs run one after the other in their order, and finishing waits for all of them")
    func order() async {
        let done = NIOLockedValueBox<[Int]>([])
        await Self.withLane(3) { lane in
            for number in 1...20 {
                await lane.add {
                    for _ in 0..<(20 - number) { await Task.yield() }
                    done.withLockedValue { $0.append(number) }
                }
            }
            await lane.finish()
            #expect(done.withLockedValue { $0 } == Array(1...20))
        }
    }

    @Test("a job that waits holds up nobody until the lane is full, and whoever waits for a place gets it")
    func bound() async {
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        let started = NIOLockedValueBox(0)
        await Self.withLane(2) { lane in
            await lane.add { for await _ in gate { break } }
            await lane.add { started.withLockedValue { $0 += 1 } }
            // Here because the two found a place. The third one waits for the first.
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await lane.add { started.withLockedValue { $0 += 1 } } }
                #expect(started.withLockedValue { $0 } == 0)
                opener.yield()
                await group.waitForAll()
            }
            await lane.finish()
            #expect(started.withLockedValue { $0 } == 2)
        }
    }

    @Test("when the lane ends, whoever waits for it goes on")
    func end() async {
        let lane = SideLane(waitingMax: 1)
        let (entered, entry) = AsyncStream.makeStream(of: Void.self)
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await lane.run() }
            await lane.add {
                entry.yield()
                for await _ in gate { break }
            }
            for await _ in entered { break }
            group.addTask { await lane.finish() }
            group.addTask { await lane.add {} }
            group.cancelAll()
        }
        await lane.finish()
        opener.finish()
    }

    @Test("messages wait for no command, lookups run beside them, and what changes the conversation has its turn alone")
    func turns() {
        for line in ["hello", ":delay 5 later", ""] { #expect(ChatInput(line: line).turn == .atOnce) }
        for line in [":ls", ":history", ":q word", ":olu", ":pu a", ":info", ":members", ":all", ":emoji", ":open", ":nonsense"] {
            #expect(ChatInput(line: line).turn == .beside)
        }
        for line in [":open bob", ":group Plans", ":invite bob", ":rename Plans", ":leave", ":q!"] {
            #expect(ChatInput(line: line).turn == .alone)
        }
    }
}
