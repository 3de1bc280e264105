import ApusClient
import ApusProtocol

/// Sends its share of the messages, some of them a second time from another device, a few with a conflict, and records the answers.
struct Writer: Sendable {
    private let role: Cast.WriterRole
    private let options: ContractTest.Options
    private let recorder: Recorder

    init(_ role: Cast.WriterRole, cast: Cast, options: ContractTest.Options, recorder: Recorder) {
        self.role = role
        self.options = options
        self.recorder = recorder
    }

    private enum Repeat {
        case same, conflicting
    }

    func run() async throws {
        var random = SeededGenerator(seed: options.seed &+ UInt64(role.index) &* 7919)
        let share = options.messages / options.writers + (role.index < options.messages % options.writers ? 1 : 0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<share {
                if number >= options.window { try await group.next() }
                // Writers do not run ahead of the faults, so that each of them meets messages under way.
                let due = number * options.faults / max(1, share) - 1
                try await recorder.wait { $0.faults >= due }
                let again: Repeat? =
                    switch Int.random(in: 0..<100, using: &random) {
                    case 0..<3: .same
                    case 3: .conflicting
                    default: nil
                    }
                let conversation = role.conversations.randomElement(using: &random) ?? ConversationID(0)
                let filling = String(repeating: "·", count: Int.random(in: 0...100, using: &random))
                let name = History.EntryName(
                    conversation: conversation, sender: role.participant.account, clientID: "\(role.participant.name)-\(number)")
                let content = History.Content(body: "message \(number) of \(role.participant.name) \(filling)")
                // One after the other: the order of these calls is the order that the log must have.
                let waiting = try await send(name, content, as: role.participant)
                group.addTask {
                    try await finish(waiting)
                    switch again {
                    case .same: try await finish(try await send(name, content, as: role.otherDevice))
                    case .conflicting:
                        let other = History.Content(body: content.body + "?")
                        try await finish(try await send(name, other, as: role.otherDevice))
                    case nil: break
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private struct Waiting: Sendable {
        var record: Int
        var pending: PendingSend
    }

    private func send(_ name: History.EntryName, _ content: History.Content, as participant: Participant) async throws -> Waiting {
        let pending = try await participant.client.enqueue(
            content.body, to: name.conversation, kind: content.kind, clientID: name.clientID)
        return Waiting(record: await recorder.sent(participant.name, name, content), pending: pending)
    }

    private func finish(_ waiting: Waiting) async throws {
        do {
            let ack = try await waiting.pending.acknowledgement()
            await recorder.answered(waiting.record, .acknowledged(History.Place(id: ack.id, seq: ack.seq)))
        } catch let error as ApusError where error.code == .conflict {
            await recorder.answered(waiting.record, .refused(error.code))
        }
    }
}
