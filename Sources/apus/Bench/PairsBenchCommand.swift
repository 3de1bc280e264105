import ApusProtocol
import ArgumentParser

struct PairsBenchCommand: AsyncParsableCommand {
    /// `--rate`: so many messages per second, or as many as the server acknowledges.
    enum Rate: ExpressibleByArgument {
        case perSecond(Double)
        case max

        init?(argument: String) {
            if argument == "max" {
                self = .max
            } else if let rate = Double(argument), rate > 0, rate.isFinite {
                self = .perSecond(rate)
            } else {
                return nil
            }
        }
    }

    static let configuration = CommandConfiguration(
        commandName: "pairs", abstract: "One-to-one messages: throughput and latency.",
        discussion: """
            With a rate the load is open-loop: the times of sending are fixed in advance and latency counts from them, so a pause of the \
            server shows in every message that it delayed. With --rate max each pair keeps --window messages unacknowledged, which finds the \
            highest throughput; latency then only tells how long the queues are.
            """)

    @OptionGroup var options: BenchOptions

    @Option(help: "Pairs of users; one of each sends to the other.")
    var pairs = 100

    @Option(help: ArgumentHelp("Messages per second over all pairs, or max.", valueName: "rate"))
    var rate = Rate.perSecond(1000)

    @Option(help: "Where the two of a pair are, of several socket nodes: same, across, or mixed: half of the pairs each.")
    var placement = PairPlacement.mixed

    @Option(help: "How the times of sending are spaced: constant or poisson.")
    var arrivals = ArrivalSchedule.Spacing.poisson

    @Option(help: "Unacknowledged messages per pair with --rate max.")
    var window = 16

    @Option(help: "Seconds that are measured.")
    var seconds = 10.0

    @Option(help: "Seconds before them that are checked but not measured.")
    var warmup = 2.0

    @Option(help: "Seconds to wait at the end for what is missing.")
    var drain = 15.0

    @Option(help: "Bytes of a message's body.")
    var size = 150

    @Option(help: "Seed of the random arrivals.")
    var seed: UInt64 = 1

    func validate() throws {
        guard (1...500_000).contains(pairs) else { throw ValidationError("--pairs is 1 to 500000") }
        guard window > 0, seconds > 0, warmup >= 0, drain > 0, size > 0 else {
            throw ValidationError("--window, --seconds, --drain and --size are above 0, --warmup is 0 or more")
        }
    }

    func run() async throws {
        try await reportingFailures {
            let context = try await BenchContext.prepare(options, accounts: 2 * pairs)
            let nodes = try placement.nodes(context.nodes)
            let conversations = try await context.directConversations(pairs: pairs)
            let processes = options.processCount(sessions: 2 * pairs, units: pairs)
            let plans = evenRanges(pairs, parts: processes).enumerated().map { index, range in
                WorkerPlan(
                    nodes: nodes, source: options.source(process: index, of: processes, nodes: nodes),
                    tokens: context.accounts[2 * range.lowerBound..<2 * range.upperBound].map(\.accessToken),
                    connectsAtOnceMax: options.connectsAtOnce,
                    scenario: .pairs(
                        PairsPlan(
                            run: context.run, conversations: Array(conversations[range]), load: load(processes: processes),
                            warmupSeconds: warmup, seconds: seconds, drainSeconds: drain, bodyBytes: size,
                            seed: seed &+ UInt64(index))))
            }
            let outcome = try await context.execute(plans, label: "sending")
            try report(outcome, context: context, processes: processes).publish(options)
        }
    }

    private func load(processes: Int) -> PairsPlan.Load {
        switch rate {
        case .perSecond(let rate): .rate(rate / Double(processes), arrivals)
        case .max: .window(window)
        }
    }

    private func report(_ outcome: BenchOutcome, context: BenchContext, processes: Int) -> BenchReport {
        var report = BenchReport(
            scenario: "pairs", options: options, context: context, processes: processes, sessions: 2 * pairs, outcome: outcome)
        switch rate {
        case .perSecond(let rate): report.parameters = ["rate": "\(rate)/s", "arrivals": arrivals.rawValue]
        case .max: report.parameters = ["rate": "max", "window": "\(window)"]
        }
        report.parameters["seconds"] = "\(seconds)"
        report.parameters["bytes"] = "\(size)"
        if context.nodes.count > 1 { report.parameters["pairs"] = "\(placement.rawValue) of \(context.nodes.count) nodes" }
        var toAck = LatencyHistogram.latency()
        var toDelivery = LatencyHistogram.latency()
        for result in outcome.results {
            result.toAck.add(to: &toAck)
            result.toDelivery.add(to: &toDelivery)
        }
        report.toAckMilliseconds = LatencySummary(toAck)
        report.toDeliveryMilliseconds = LatencySummary(toDelivery)
        report.acknowledgedPerSecond = Double(outcome.results.map(\.acknowledgedMeasured).reduce(0, +)) / seconds
        report.deliveredPerSecond = Double(outcome.results.map(\.deliveredMeasured).reduce(0, +)) / seconds
        let checks = outcome.results.map(\.checks).reduce(DeliveryChecks(), +)
        report.checks = checks
        if let process = report.process, process.cpuSeconds > 0 {
            report.acknowledgedPerServerCPUSecond = Double(checks.acknowledged) / process.cpuSeconds
        }
        return report
    }
}

extension ArrivalSchedule.Spacing: ExpressibleByArgument {}
