import ApusProtocol
import Foundation

/// One thing that was done to the servers.
public struct Fault: Sendable {
    /// `kill -9 of socket`.
    public var kind: String
    /// Which one, for how long.
    public var detail = ""
    /// From the repair (the start of what was killed) until it was ready again.
    public var recovery = Duration.zero
}

/// What happens to servers while a contract test runs against them.
protocol Disturbance: Sendable {
    /// What clients are told to connect to.
    var server: URL { get async throws }
    /// Does one thing to the servers and repairs it.
    /// - Parameter number: of the fault, from 0.
    func strike(_ number: Int, using random: inout SeededGenerator) async throws -> Fault
    /// Ends and starts everything once more, so that what is read from here on comes from the disk.
    func restart() async throws
    /// The end of what the servers logged.
    func logTail() async -> String
}

/// Several clients write and read while the servers are disturbed again and again; then the checker compares what they did and saw
/// with what the servers have: the delivery contract, from outside.
public struct ContractTest: Sendable {
    public struct Options: Sendable {
        public var faults: Int
        /// All writers together.
        public var messages: Int
        /// So many of all writers, whatever the answers do, until the last fault is over, in place of ``messages``. For measuring how
        /// late messages are.
        public var messagesPerSecond: Int?
        public var writers: Int
        public var readers: Int
        /// Of the choices of this run. The moments at which the processes meet are the machine's.
        public var seed: UInt64
        /// Sends of one writer that wait for their answer.
        public var window: Int
        public var timeLimit: Duration

        public init(
            faults: Int = 20, messages: Int = 20_000, messagesPerSecond: Int? = nil, writers: Int = 4, readers: Int = 4,
            seed: UInt64, window: Int = 32, timeLimit: Duration = .seconds(900)
        ) {
            self.faults = faults
            self.messages = messages
            self.messagesPerSecond = messagesPerSecond
            self.writers = writers
            self.readers = readers
            self.seed = seed
            self.window = window
            self.timeLimit = timeLimit
        }
    }

    private let options: Options
    private let disturbance: any Disturbance
    private let recorder = Recorder()
    private let report: @Sendable (String) -> Void

    /// - Parameter progress: gets a line for people after each fault.
    /// - Throws: ``ServerProcessError`` when a server does not come back or the run does not end in time; `ApusError` of a client.
    static func run(
        _ options: Options, against disturbance: any Disturbance, progress: @escaping @Sendable (String) -> Void
    ) async throws -> ContractTestReport {
        let test = ContractTest(options: options, disturbance: disturbance, report: progress)
        do {
            return try await within(options.timeLimit) { try await test.run() }
        } catch is DeadlineError {
            throw ServerProcessError(
                "the test did not end in \(options.timeLimit): \(await test.state)\n\(await disturbance.logTail())")
        }
    }

    private init(options: Options, disturbance: any Disturbance, report: @escaping @Sendable (String) -> Void) {
        self.options = options
        self.disturbance = disturbance
        self.report = report
    }

    private var state: String {
        get async {
            let all = options.messagesPerSecond == nil ? " of \(options.messages)" : ""
            return "\(await recorder.acknowledged)\(all) acknowledged"
        }
    }

    private func run() async throws -> ContractTestReport {
        let began = ContinuousClock.now
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-contract-test-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        let cast = try await Cast.gather(options, server: try await disturbance.server, directory: directory)
        async let observed: Void = observe(cast)
        do {
            var faults: [Fault] = []
            var memberships = 0
            // What ends with an error ends the others.
            try await withThrowingTaskGroup(of: Part.self) { group in
                for writer in cast.writers {
                    group.addTask {
                        try await Writer(writer, cast: cast, options: options, recorder: recorder).run()
                        return .written
                    }
                }
                group.addTask { .disturbed(try await disturb()) }
                group.addTask { .cameAndWent(try await cast.inviteAndLeave(options, recorder)) }
                for try await part in group {
                    switch part {
                    case .written: break
                    case .disturbed(let all): faults = all
                    case .cameAndWent(let cycles): memberships = cycles
                    }
                }
            }
            try await waitForReaders(cast, try await cast.readLogs())
            await recorder.endTimings()
            // Once more after the last acknowledgement, so that what is read now comes from the disk.
            try await disturbance.restart()
            let history = try await audit(cast)
            await cast.close()
            await observed
            let failedCalls = await recorder.failedCalls
            let repeatedCalls = failedCalls.values.reduce(0, +)
            return ContractTestReport(
                options: options, history: history, faults: faults, timings: await recorder.timings, failedCalls: failedCalls,
                reconnects: await recorder.welcomes, duration: .now - began,
                problems: problems(history, cast, memberships: memberships, repeatedCalls: repeatedCalls) + (await recordingProblems))
        } catch {
            await cast.close()
            throw error
        }
    }

    private enum Part: Sendable {
        case written, disturbed([Fault]), cameAndWent(Int)
    }

    private func observe(_ cast: Cast) async {
        await withTaskGroup(of: Void.self) { group in
            for participant in cast.participants {
                group.addTask {
                    for await event in participant.events { await recorder.saw(event, reader: participant.name) }
                }
            }
        }
    }

    // MARK: Disturbing

    private func disturb() async throws -> [Fault] {
        var random = SeededGenerator(seed: options.seed &+ 0xDEAD)
        var faults: [Fault] = []
        for number in 0..<options.faults {
            try await waitForMoment(number, &random)
            await recorder.beganFault()
            let fault = try await disturbance.strike(number, using: &random)
            faults.append(fault)
            await recorder.endedFault()
            report(
                "\(number + 1) of \(options.faults), \([fault.kind, fault.detail].filter { !$0.isEmpty }.joined(separator: ": ")); \(await state)"
            )
        }
        return faults
    }

    /// Faults are spread over the run by the messages that were acknowledged, whatever the speed of the machine: one in each part of it.
    private func waitForMoment(_ number: Int, _ random: inout SeededGenerator) async throws {
        let delay = Duration.microseconds(Int.random(in: 0...30_000, using: &random))
        if options.messagesPerSecond == nil {
            let part = max(1, options.messages / max(1, options.faults))
            let moment = number * part + Int.random(in: 0..<part, using: &random)
            try await recorder.wait { $0.acknowledged >= moment }
        } else {
            try await Task.sleep(for: .seconds(1))
        }
        try await Task.sleep(for: delay)
    }

    // MARK: Checking

    private func audit(_ cast: Cast) async throws -> History {
        let logs = try await cast.readLogs()
        try await waitForReaders(cast, logs)
        let visibility = cast.visibility(logs)
        let accounts = Dictionary(cast.participants.map { ($0.name, $0.account) }, uniquingKeysWith: { first, _ in first })
        var history = await recorder.history(logs: logs, visibility: visibility, accounts: accounts)
        history.observations += try await cast.readAgain(Array(logs.keys))
        return history
    }

    private func waitForReaders(_ cast: Cast, _ logs: [ConversationID: [Entry]]) async throws {
        let visibility = cast.visibility(logs)
        let participants = cast.participants
        let expected = participants.flatMap { participant in
            logs.compactMap { conversation, log -> (String, ConversationID, Seq)? in
                guard let range = visibility[conversation]?[participant.account]?.last, let end = log.last?.seq else { return nil }
                return (participant.name, conversation, min(end, range.upperBound))
            }
        }
        report("waiting until \(participants.count) readers have everything")
        // A reader that never gets there is the checker's to report, with what it lacks.
        try? await within(.seconds(60)) {
            try await recorder.wait { recorder in
                expected.allSatisfy { recorder.lastSeen(by: $0.0, in: $0.1) >= $0.2 }
            }
        }
        try Task.checkCancellation()
    }

    private func problems(_ history: History, _ cast: Cast, memberships: Int, repeatedCalls: Int) -> [String] {
        var problems = HistoryChecker.violations(in: history).map(\.description)
        let found = history.visibility[cast.comingAndGoing]?[cast.guest.account]?.count ?? 0
        // A call that was made again may still be carried out, by a node that stood still meanwhile.
        if !(memberships...memberships + repeatedCalls).contains(found) {
            problems.append("C1: the guest joined and left \(memberships) times, the log says \(found)")
        }
        return problems
    }

    private var recordingProblems: [String] {
        get async { await recorder.incomplete.sorted().map { "history: \($0) was too slow to be told everything" } }
    }
}

/// Runs `body`, cancels it when the time is over, and then throws ``DeadlineError``.
func within<Result: Sendable>(_ limit: Duration, _ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
    try await withThrowingTaskGroup(of: Result.self) { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: limit)
            throw DeadlineError()
        }
        defer { group.cancelAll() }
        guard let result = try await group.next() else { throw DeadlineError() }
        return result
    }
}
