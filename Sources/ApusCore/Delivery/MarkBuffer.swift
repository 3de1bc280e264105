import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// Read and delivered marks on their way to the store. Many marks of one reader become one: only the furthest counts. A mark
/// is not acknowledged and may be lost with the process; the client's next one makes up for it.
public final class MarkBuffer: Service {
    private struct Key: Hashable {
        var conversation: ConversationID
        var account: AccountID
    }

    private let conversations: any ConversationStore
    private let handover: any Handover
    private let interval: Duration
    private let waitingMax: Int
    private let membersMax: Int
    private let logger: Logger
    private let waiting = NIOLockedValueBox<[Key: Mark]>([:])

    public init(
        conversations: any ConversationStore, handover: any Handover, interval: Duration = .milliseconds(200), waitingMax: Int = 100_000,
        membersMax: Int = 500, logger: Logger
    ) {
        self.conversations = conversations
        self.handover = handover
        self.interval = interval
        self.waitingMax = waitingMax
        self.membersMax = membersMax
        self.logger = logger
    }

    /// - Throws: ``ApusError`` `overloaded`.
    func add(_ mark: Mark) throws {
        let isFull = waiting.withLockedValue { waiting in
            let key = Key(conversation: mark.conversation, account: mark.account)
            if var present = waiting[key] {
                present.read = max(present.read, mark.read)
                present.delivered = max(present.delivered, mark.delivered)
                waiting[key] = present
                return false
            }
            if waiting.count >= waitingMax { return true }
            waiting[key] = mark
            return false
        }
        if isFull { throw ApusError(.overloaded, "too many marks are waiting", retryAfterMilliseconds: 1000) }
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                // Marks are collected for this long on purpose.
                try? await Task.sleep(for: self.interval)
                await self.flush()
            }
        }
        await flush()
    }

    func flush() async {
        let marks = waiting.withLockedValue { waiting in
            let marks = Array(waiting.values)
            waiting.removeAll(keepingCapacity: marks.count < 1000)
            return marks
        }
        for start in stride(from: 0, to: marks.count, by: 500) {
            let slice = Array(marks[start..<min(start + 500, marks.count)])
            do {
                let audible = try await tellable(slice)
                try await conversations.save(audible.map(\.mark))
                for (mark, audience) in audible where audience.accounts.count <= membersMax {
                    handover.signal(.mark(mark), to: audience, except: nil)
                }
            } catch {
                logger.warning("marks were lost", metadata: ["marks": "\(slice.count)", "error": "\(error)"])
            }
        }
    }

    /// The marks of accounts that are members, bounded by the head: nobody has read what is not there.
    private func tellable(_ marks: [Mark]) async throws -> [(mark: Mark, audience: Audience)] {
        var tellable: [(Mark, Audience)] = []
        for mark in marks {
            guard let audience = try await conversations.audience(of: mark.conversation), audience.accounts.contains(mark.account) else {
                continue
            }
            tellable.append((mark, audience))
        }
        return tellable
    }
}
