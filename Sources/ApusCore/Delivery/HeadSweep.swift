import ApusProtocol
import Logging
import ServiceLifecycle

/// Every few seconds reads the heads that moved, in one query, and has local readers that are behind repaired. With every
/// hand-over lost, messages still arrive within one interval.
///
/// It reads twice in an interval and repairs by what it read the time before: an entry that was committed a moment ago is
/// on its way, and its readers are not behind.
public struct HeadSweep: Service {
    private let log: any EntryLog
    private let conversations: any ConversationStore
    private let handover: any Handover
    private let interval: Duration
    private let headsMax: Int
    private let logger: Logger

    public init(
        log: any EntryLog, conversations: any ConversationStore, handover: any Handover, interval: Duration, headsMax: Int = 10_000,
        logger: Logger
    ) {
        self.log = log
        self.conversations = conversations
        self.handover = handover
        self.interval = interval
        self.headsMax = headsMax
        self.logger = logger
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            var state = State()
            while !Task.isCancelled {
                do {
                    try await sweep(&state)
                } catch {
                    logger.warning("head sweep failed", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: interval / 2)
            }
        }
    }

    struct State {
        /// Nil: the first sweep begins at the present end of the log.
        var position: LogPosition?
        /// What the last sweep found.
        var heads: [ConversationHead] = []
        /// What it reported, whether found then or before: a store may report heads again.
        var reported: Set<ConversationHead> = []
    }

    func sweep(_ state: inout State) async throws {
        for head in state.heads {
            guard let audience = try await conversations.audience(of: head.conversation) else { continue }
            handover.repair(head, audience: audience)
        }
        state.heads = []
        guard let position = state.position else {
            state.position = try await log.position()
            return
        }
        // What does not fit into one read is found by the next.
        let page = try await log.movedHeads(since: position, limit: headsMax)
        state.heads = page.heads.filter { !state.reported.contains($0) }
        state.reported = Set(page.heads)
        state.position = page.position
    }
}
