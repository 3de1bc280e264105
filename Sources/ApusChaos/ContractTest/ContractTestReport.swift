/// What a contract test did and what the checker found.
public struct ContractTestReport: Codable, Sendable {
    public var seed: UInt64
    /// How often each thing was done to the servers.
    public var faults: [String: Int]
    /// Acknowledgements; repeated sends have theirs.
    public var acknowledged: Int
    /// Sends with the id of another message, which have to be refused.
    public var conflictsRefused: Int
    public var conversations: Int
    /// Of all logs together, with the server's own.
    public var entries: Int
    /// Entries that readers saw, all readers together.
    public var entriesSeen: Int
    public var reconnects: Int
    public var longestRecoveryMilliseconds: Int
    public var seconds: Double
    /// Empty: every promise was kept.
    public var violations: [String]

    init(
        options: ContractTest.Options, history: History, faults: [Fault], reconnects: Int, duration: Duration, problems: [String]
    ) {
        seed = options.seed
        self.faults = Dictionary(faults.map { ($0.description, 1) }, uniquingKeysWith: +)
        acknowledged = history.sends.count(where: \.outcome.isAcknowledged)
        conflictsRefused = history.sends.count(where: \.outcome.isRefused)
        conversations = history.logs.count
        entries = history.logs.values.map(\.count).reduce(0, +)
        entriesSeen = history.observations.map(\.sights.count).reduce(0, +)
        self.reconnects = reconnects
        longestRecoveryMilliseconds = Int((faults.map(\.recovery).max() ?? .zero) / .milliseconds(1))
        seconds = (duration / .milliseconds(1)).rounded() / 1000
        violations = problems
    }
}

extension ContractTestReport: CustomStringConvertible {
    public var description: String {
        let verdict =
            violations.isEmpty
            ? "no entry lost, doubled, re-ordered or invented, no gap"
            : "\(violations.count) violations:\n" + violations.joined(separator: "\n")
        return """
            \(faults.values.reduce(0, +)) faults in \(seconds) s, seed \(seed); the longest recovery took \(longestRecoveryMilliseconds) ms
            \(faults.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }.joined(separator: ", "))
            \(acknowledged) acknowledgements, \(conflictsRefused) conflicts refused, \(reconnects) times a client came online
            \(entries) entries in \(conversations) conversations, seen \(entriesSeen) times by readers
            \(verdict)
            """
    }
}
