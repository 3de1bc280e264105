import ApusCore
import ApusProtocol
import NIOConcurrencyHelpers
import NIOCore

/// All sessions of this node: passes what concerns them to their event loops, one hop per loop and batch.
///
/// The hub exists before the role has loops, because the sequencer hands over to it and the role sends to the sequencer.
public final class SessionHub: Handover, SessionControl {
    private struct Loop: Sendable {
        var eventLoop: any EventLoop
        var hub: NIOLoopBound<LoopHub>
    }

    private let loops = NIOLockedValueBox<[Loop]>([])

    public init() {}

    func attach(_ hubs: [(any EventLoop, NIOLoopBound<LoopHub>)]) {
        loops.withLockedValue { $0 = hubs.map { Loop(eventLoop: $0.0, hub: $0.1) } }
    }

    public func handOver(_ batch: [AppendResult]) { onEachLoop { $0.handOver(batch) } }

    public func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {
        onEachLoop { $0.signal(signal, to: audience, except: except) }
    }

    public func repair(_ head: ConversationHead, audience: Audience) { onEachLoop { $0.repair(head, audience: audience) } }

    public func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws {
        let devices = Set(devices)
        onEachLoop { $0.closeSessions(of: devices, account: account, code: code) }
    }

    func onEachLoop(_ body: @escaping @Sendable (LoopHub) -> Void) {
        for loop in loops.withLockedValue({ $0 }) {
            loop.eventLoop.execute { body(loop.hub.value) }
        }
    }

    /// Asks each loop; for the few questions that are not on the hot path.
    func ofEachLoop<Answer: Sendable>(_ body: @escaping @Sendable (LoopHub) -> Answer) async throws -> [Answer] {
        var answers: [Answer] = []
        for loop in loops.withLockedValue({ $0 }) {
            answers.append(try await loop.eventLoop.submit { body(loop.hub.value) }.get())
        }
        return answers
    }
}
