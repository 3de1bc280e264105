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
        let began = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            var number = 0
            while try await isTime(for: number, since: began, &group) {
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
                number += 1
            }
            try await group.waitForAll()
        }
    }

    /// - Returns: false when there is nothing more to send.
    private func isTime(
        for number: Int, since began: ContinuousClock.Instant, _ group: inout ThrowingTaskGroup<Void, any Error>
    ) async throws -> Bool {
        if let rate = options.messagesPerSecond {
            try await Task.sleep(until: began + .seconds(number * options.writers + role.index) / rate)
            return await !recorder.isOver(options)
        }
        let share = options.messages / options.writers + (role.index < options.messages % options.writers ? 1 : 0)
        guard number < share else { return false }
        if number >= options.window { try await group.next() }
        // Writers do not run ahead of the faults, so that each of them meets messages under way.
        let due = number * options.faults / max(1, share) - 1
        try await recorder.wait { $0.faults >= due }
        return true
    }

    private struct Waiting: Sendable {
        var record: Int
        var pending: PendingSend
    }

    private func send(_ name: History.EntryName, _ content: History.Content, as participant: Participant) async throws -> Waiting {
        // Before it is under way: a reader may have it sooner than this task goes on.
        let record = await recorder.sent(participant.name, name, content, at: .now)
        let pending = try await participant.client.enqueue(
            content.body, to: name.conversation, kind: content.kind, clientID: name.clientID)
        return Waiting(record: record, pending: pending)
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
