/// What a contract test did and what the checker found.
public struct ContractTestReport: Codable, Sendable {
    /// One kind of fault.
    public struct FaultSummary: Codable, Hashable, Sendable {
        public var count: Int
        /// From the repair until what was hit was ready again.
        public var recoveryMedianMilliseconds: Int
        public var recoveryMaxMilliseconds: Int
    }

    /// Of messages that no fault could touch (``calm``), and of those that were under way in a fault or up to five seconds after it.
    public struct Latency: Codable, Hashable, Sendable {
        public var calm: LatencySummary
        public var disturbed: LatencySummary
    }

    public var seed: UInt64
    /// What was done to the servers, by kind.
    public var faults: [String: FaultSummary]
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
    /// From the call of a client's `send` until its answer.
    public var acknowledgement: Latency
    /// From the call of a client's `send` until another client has the message.
    public var delivery: Latency
    /// The delivery that took longest.
    public var slowestDelivery: String?
    /// Calls over HTTP that clients had to make again, by what they were told.
    public var failedCalls: [String: Int]
    /// Kinds of faults that could not be made here, and why.
    public var leftOut: [String: String] = [:]
    /// Nodes that ended without being told to, by role and how they ended: one that lost its node number has to.
    public var endedByThemselves: [String: Int] = [:]
    public var seconds: Double
    /// Empty: every promise was kept.
    public var violations: [String]

    init(
        options: ContractTest.Options, history: History, faults: [Fault], timings: Timings, failedCalls: [String: Int], reconnects: Int,
        duration: Duration, problems: [String]
    ) {
        seed = options.seed
        self.faults = Dictionary(grouping: faults, by: \.kind).mapValues { faults in
            let recoveries = faults.map { Int($0.recovery / .milliseconds(1)) }.sorted()
            return FaultSummary(
                count: recoveries.count, recoveryMedianMilliseconds: recoveries[recoveries.count / 2],
                recoveryMaxMilliseconds: recoveries.last ?? 0)
        }
        acknowledged = history.sends.count(where: \.outcome.isAcknowledged)
        conflictsRefused = history.sends.count(where: \.outcome.isRefused)
        conversations = history.logs.count
        entries = history.logs.values.map(\.count).reduce(0, +)
        entriesSeen = history.observations.map(\.sights.count).reduce(0, +)
        self.reconnects = reconnects
        self.failedCalls = failedCalls
        let (acknowledgement, delivery) = (timings.acknowledgementSummaries, timings.deliverySummaries)
        self.acknowledgement = Latency(calm: acknowledgement.calm, disturbed: acknowledgement.disturbed)
        self.delivery = Latency(calm: delivery.calm, disturbed: delivery.disturbed)
        slowestDelivery = timings.slowest?.description
        seconds = (duration / .milliseconds(1)).rounded() / 1000
        violations = problems
    }

    public var faultCount: Int { faults.values.map(\.count).reduce(0, +) }
}

extension ContractTestReport: CustomStringConvertible {
    public var description: String {
        let verdict =
            violations.isEmpty
            ? "no entry lost, doubled, re-ordered or invented, no gap"
            : "\(violations.count) violations:\n" + violations.joined(separator: "\n")
        let kinds = faults.sorted { $0.key < $1.key }.map { kind, summary in
            let times = "ready again after \(summary.recoveryMedianMilliseconds) ms (median), \(summary.recoveryMaxMilliseconds) ms (max)"
            return "  \(summary.count) × \(kind)" + (summary.recoveryMaxMilliseconds > 0 ? ": \(times)" : "")
        }
        let missing = leftOut.sorted { $0.key < $1.key }.map { "  left out: \($0.key): \($0.value)" }
        let ended = endedByThemselves.sorted { $0.key < $1.key }.map { "  \($0.value) × ended by itself: \($0.key)" }
        return """
            \(faultCount) faults in \(seconds) s, seed \(seed)
            \((kinds + ended + missing).joined(separator: "\n"))
            \(acknowledged) acknowledgements, \(conflictsRefused) conflicts refused, \(reconnects) times a client came online
            \(entries) entries in \(conversations) conversations, seen \(entriesSeen) times by readers
            \(failedCalls.values.reduce(0, +)) HTTP calls made again
            send to acknowledgement, undisturbed: \(acknowledgement.calm)
            send to acknowledgement, in and 5 s after faults: \(acknowledgement.disturbed)
            send to delivery, undisturbed: \(delivery.calm)
            send to delivery, in and 5 s after faults: \(delivery.disturbed)
            the slowest delivery: \(slowestDelivery ?? "none")
            \(verdict)
            """
    }
}
