import ApusProtocol
import Logging
import ServiceLifecycle

/// Every few seconds reads the heads that moved, in one query, and has local readers that are behind repaired. With every
/// hand-over lost, messages still arrive within one interval.
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
            var position: LogPosition?
            while !Task.isCancelled {
                do {
                    position = try await sweep(since: position)
                } catch {
                    logger.warning("head sweep failed", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: interval)
            }
        }
    }

    /// - Parameter since: nil begins at the present end of the log.
    func sweep(since: LogPosition?) async throws -> LogPosition {
        guard var position = since else { return try await log.position() }
        while true {
            let page = try await log.movedHeads(since: position, limit: headsMax)
            for head in page.heads {
                guard let audience = try await conversations.audience(of: head.conversation) else { continue }
                handover.repair(head, audience: audience)
            }
            position = page.position
            if page.heads.count < headsMax { return position }
        }
    }
}
