import ApusProtocol
import Logging
import ServiceLifecycle

/// Gives what other nodes relayed to the sessions of this one.
///
/// What names its readers goes to them at once. For a large conversation the readers are its members, if the roster here is the
/// one that the entry was committed with. If it is not, nobody knows for sure who may see the entry: the sessions are pointed to
/// the head and read from the store, which applies each reader's own visibility (C7).
public final class RelayInbox: RelayReceiver, Service {
    private enum ForMembers: Sendable {
        case entry(Entry, isDuplicate: Bool, rosterSeq: Seq)
        case signal(Signal, rosterSeq: Seq)

        var cost: Int {
            switch self {
            case .entry(let entry, _, _): 256 + entry.body.utf8.count
            case .signal: 128
            }
        }
    }

    private struct Closing: Sendable {
        var devices: [DeviceID]
        var account: AccountID
        var code: CloseCode
    }

    private let handover: any Handover
    private let sessions: any SessionControl
    private let conversations: any ConversationStore
    private let logger: Logger
    private let forMembers: WorkQueue<ForMembers>
    /// Of their own: a logout does not wait for the store.
    private let closings: WorkQueue<Closing>
    private let losses: LossLog

    /// - Parameters:
    ///   - handover: the sessions of this node, and no others.
    ///   - sessions: the same.
    ///   - queueBytesMax: about as many bytes may wait for the store.
    public init(
        handover: any Handover, sessions: any SessionControl, conversations: any ConversationStore, queueBytesMax: Int = 16 << 20,
        clock: any WallClock, logger: Logger
    ) {
        self.handover = handover
        self.sessions = sessions
        self.conversations = conversations
        self.logger = logger
        forMembers = WorkQueue(costMax: queueBytesMax)
        closings = WorkQueue(costMax: 100_000)
        losses = LossLog("relayed messages were", clock: clock, logger: logger)
    }

    /// What was relayed to this node and not given to its sessions.
    public var lossCount: Int { losses.count }

    public func receive(_ batch: [RelayMessage], from node: NodeID) {
        var results: [AppendResult] = []
        var waiting: [ForMembers] = []
        for message in batch {
            switch message {
            case .entry(let entry, .accounts(let accounts), let isDuplicate):
                results.append(Self.result(entry, Audience(accounts, rosterSeq: 0), isDuplicate: isDuplicate))
            case .entry(let entry, .members(let rosterSeq), let isDuplicate):
                waiting.append(.entry(entry, isDuplicate: isDuplicate, rosterSeq: rosterSeq))
            case .signal(let signal, .accounts(let accounts)):
                // Nobody is told that somebody types before what was typed earlier.
                flush(&results)
                handover.signal(signal, to: Audience(accounts, rosterSeq: 0), except: nil)
            case .signal(let signal, .members(let rosterSeq)): waiting.append(.signal(signal, rosterSeq: rosterSeq))
            case .close(let devices, let account, let code):
                let closing = Closing(devices: devices, account: account, code: code)
                losses.lost(closings.add([closing]) { 1 + $0.devices.count }, "too many sessions wait to be closed")
            }
        }
        flush(&results)
        if !waiting.isEmpty { losses.lost(forMembers.add(waiting, cost: \.cost), "too many wait for the store") }
    }

    private func flush(_ results: inout [AppendResult]) {
        if !results.isEmpty { handover.handOver(results) }
        results = []
    }

    private static func result(_ entry: Entry, _ audience: Audience, isDuplicate: Bool) -> AppendResult {
        AppendResult(
            conversation: entry.conversation, clientID: "", origin: nil,
            outcome: .committed(entry, audience: audience, isDuplicate: isDuplicate))
    }

    /// Works until shutdown.
    public func run() async throws {
        await withGracefulShutdownHandler {
            await withTaskGroup(of: Void.self) { tasks in
                tasks.addTask { while let waiting = await self.closings.next() { await self.close(waiting) } }
                tasks.addTask { while let waiting = await self.forMembers.next() { await self.pass(waiting) } }
            }
        } onGracefulShutdown: {
            self.closings.finish()
            self.forMembers.finish()
        }
    }

    private func close(_ closings: [Closing]) async {
        for closing in closings {
            do {
                try await sessions.closeSessions(of: closing.devices, account: closing.account, code: closing.code)
            } catch {
                logger.error("sessions not closed", metadata: ["account": "\(closing.account)", "error": "\(error)"])
            }
        }
    }

    private func pass(_ waiting: [ForMembers]) async {
        for item in waiting {
            do {
                switch item {
                case .entry(let entry, let isDuplicate, let rosterSeq):
                    guard let audience = try await conversations.audience(of: entry.conversation) else { continue }
                    if audience.rosterSeq == rosterSeq {
                        handover.handOver([Self.result(entry, audience, isDuplicate: isDuplicate)])
                    } else {
                        handover.repair(ConversationHead(conversation: entry.conversation, seq: entry.seq), audience: audience)
                    }
                case .signal(let signal, let rosterSeq):
                    guard let audience = try await conversations.audience(of: signal.conversation) else { continue }
                    // Of no use to those who miss it, and none of the business of those who left.
                    if audience.rosterSeq == rosterSeq { handover.signal(signal, to: audience, except: nil) }
                }
            } catch {
                losses.lost(1, "the members cannot be read: \(error)")
            }
        }
    }
}

extension Signal {
    fileprivate var conversation: ConversationID {
        switch self {
        case .mark(let mark): mark.conversation
        case .typing(let conversation, _): conversation
        }
    }
}
