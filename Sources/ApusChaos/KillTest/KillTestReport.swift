/// What a kill test did and what the checker found.
public struct KillTestReport: Codable, Sendable {
    public var seed: UInt64
    public var kills: Int
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
    public var longestStartMilliseconds: Int
    public var seconds: Double
    /// Empty: every promise was kept.
    public var violations: [String]

    init(
        options: KillTest.Options, history: History, kills: Int, reconnects: Int, recoveries: [Duration], duration: Duration,
        problems: [String]
    ) {
        seed = options.seed
        self.kills = kills
        acknowledged = history.sends.count(where: \.outcome.isAcknowledged)
        conflictsRefused = history.sends.count(where: \.outcome.isRefused)
        conversations = history.logs.count
        entries = history.logs.values.map(\.count).reduce(0, +)
        entriesSeen = history.observations.map(\.sights.count).reduce(0, +)
        self.reconnects = reconnects
        longestStartMilliseconds = Int((recoveries.max() ?? .zero) / .milliseconds(1))
        seconds = (duration / .milliseconds(1)).rounded() / 1000
        violations = problems
    }
}

extension KillTestReport: CustomStringConvertible {
    public var description: String {
        let verdict =
            violations.isEmpty
            ? "no entry lost, doubled, re-ordered or invented, no gap"
            : "\(violations.count) violations:\n" + violations.joined(separator: "\n")
        return """
            \(kills) kills in \(seconds) s, seed \(seed); the longest start took \(longestStartMilliseconds) ms
            \(acknowledged) acknowledgements, \(conflictsRefused) conflicts refused, \(reconnects) times a client came online
            \(entries) entries in \(conversations) conversations, seen \(entriesSeen) times by readers
            \(verdict)
            """
    }
}
