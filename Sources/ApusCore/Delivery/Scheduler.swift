import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle

/// Keeps messages until their time and then appends them. It appends first and forgets second: after a crash in between it
/// appends again, which the log recognises by the client id.
public final class Scheduler: Service {
    private let store: any ScheduleStore
    private let sequencer: Sequencer
    private let ids: IDGenerator
    private let clock: any WallClock
    private let logger: Logger
    private let batchMax: Int
    private let pauseMax: Duration
    private let alarm = Alarm()

    /// - Parameter pauseMax: the store is asked at least this often, for what other nodes scheduled.
    public init(
        store: any ScheduleStore, sequencer: Sequencer, ids: IDGenerator, clock: any WallClock, batchMax: Int = 256,
        pauseMax: Duration = .seconds(60), logger: Logger
    ) {
        self.store = store
        self.sequencer = sequencer
        self.ids = ids
        self.clock = clock
        self.batchMax = batchMax
        self.pauseMax = pauseMax
        self.logger = logger
    }

    func schedule(_ frame: SendFrame, from sender: AccountID, waitingMax: Int) async throws -> AckFrame {
        guard let deliverAt = frame.deliverAt else { throw ApusError(.invalidArgument, "deliver_at is missing") }
        let now = clock.now
        let entry = ScheduledEntry(
            id: ids.next(), conversation: frame.conversation, sender: sender, clientID: frame.clientID, kind: frame.kind, body: frame.body,
            createdAt: now, deliverAt: deliverAt)
        switch try await store.schedule(entry, waitingMax: waitingMax) {
        case .scheduled:
            alarm.ring()
            return acknowledgement(of: entry, ref: frame.ref)
        case .duplicate(let first): return acknowledgement(of: first, ref: frame.ref)
        case .delivered(let entry):
            return AckFrame(
                ref: frame.ref, conversation: entry.conversation, clientID: frame.clientID, id: entry.id, seq: entry.seq, at: entry.at)
        case .conflict: throw ApusError(.conflict, "this client id was used for another message")
        case .full: throw ApusError(.overloaded, "\(waitingMax) messages of yours are waiting for their time")
        }
    }

    private func acknowledgement(of entry: ScheduledEntry, ref: UInt32) -> AckFrame {
        AckFrame(
            ref: ref, conversation: entry.conversation, clientID: entry.clientID, id: entry.id, seq: 0, at: entry.createdAt,
            deliverAt: entry.deliverAt)
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                let pause: Duration
                do {
                    pause = try await self.appendDue()
                } catch {
                    self.logger.error("scheduled messages wait for the store", metadata: ["error": "\(error)"])
                    pause = .seconds(1)
                }
                await self.alarm.sleep(atMost: pause)
            }
        }
    }

    /// Appends what is due. Returns how long nothing more will be.
    func appendDue() async throws -> Duration {
        while true {
            let due = try await store.due(at: clock.now, limit: batchMax)
            guard !due.isEmpty else { break }
            var done: [EntryID] = []
            for entry in due {
                let draft = EntryDraft(
                    conversation: entry.conversation, sender: entry.sender, clientID: entry.clientID, kind: entry.kind, body: entry.body,
                    id: entry.id)
                do {
                    _ = try await sequencer.append(draft)
                } catch let error as ApusError where !error.code.isRetryable {
                    // The sender left the conversation meanwhile, or the receiver's account was deleted: nobody may see the message, and
                    // nobody waits for an answer.
                    logger.info("scheduled message dropped", metadata: ["id": "\(entry.id)", "code": "\(error.code.rawValue)"])
                }
                done.append(entry.id)
            }
            try await store.remove(done)
        }
        guard let next = try await store.nextDue() else { return pauseMax }
        return min(.milliseconds(max(next.milliseconds - clock.now.milliseconds, 1)), pauseMax)
    }
}
