import ApusProtocol
import ArgumentParser
import Foundation

struct ReconnectBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reconnect", abstract: "Kill a socket node: when are all of its clients back and in sync?",
        discussion: """
            Opens sessions of pairs of users, kills the process of a node of yours on this machine with SIGKILL, and lets the sessions that break \
            find another node as the SDK does. Each then writes one message to its partner. Times count from the moment of the kill.
            """)

    @OptionGroup var options: BenchOptions

    @Option(help: "Sessions, each of a user of its own; an even number.")
    var sessions = 1_000

    @Option(help: ArgumentHelp("Process to kill: a socket node on this machine, which you started.", valueName: "pid"))
    var kill: Int32

    @Option(help: ArgumentHelp("Open all sessions on the node that the server names so; by default on all nodes alike.", valueName: "url"))
    var on: String?

    @Option(help: "Seconds until all must be back.")
    var limit = 60.0

    @Option(help: "Bytes of a message's body.")
    var size = 150

    func validate() throws {
        guard sessions >= 2, sessions % 2 == 0, kill > 1, limit > 0, size > 0 else {
            throw ValidationError("--sessions is even and 2 or more, --kill a process, --limit and --size above 0")
        }
    }

    func run() async throws {
        try await reportingFailures {
            let context = try await BenchContext.prepare(options, accounts: sessions)
            let nodes = try PairPlacement.same.nodes(context.nodes.filter { on == nil || $0.url == on })
            guard !nodes.isEmpty else {
                throw BenchFailure("the server names no such node, but \(context.nodes.map(\.url).joined(separator: ", "))")
            }
            let conversations = try await context.directConversations(pairs: sessions / 2)
            let processes = options.processCount(sessions: sessions, units: sessions / 2)
            let plans = evenRanges(sessions / 2, parts: processes).enumerated().map { index, pairs in
                WorkerPlan(
                    nodes: nodes, source: options.source(process: index, of: processes, nodes: nodes),
                    tokens: context.accounts[2 * pairs.lowerBound..<2 * pairs.upperBound].map(\.accessToken),
                    connectsAtOnceMax: options.connectsAtOnce,
                    scenario: .reconnect(
                        ReconnectPlan(
                            run: context.run, conversations: Array(conversations[pairs]), server: options.server, limitSeconds: limit,
                            bodyBytes: size, seed: UInt64(index) + 1)))
            }
            let outcome = try await context.executeWithFault(plans) { try Self.end(kill) }
            try report(outcome, context: context, processes: processes).publish(options)
        }
    }

    private static func end(_ process: Int32) throws {
        guard Foundation.kill(process, SIGKILL) == 0 else {
            throw BenchFailure("cannot kill process \(process): \(String(cString: strerror(errno)))")
        }
    }

    private func report(_ outcome: BenchOutcome, context: BenchContext, processes: Int) -> BenchReport {
        var report = BenchReport(
            scenario: "reconnect", options: options, context: context, processes: processes, sessions: sessions, outcome: outcome)
        var toSync = LatencyHistogram.latency()
        var toDelivery = LatencyHistogram.latency()
        for result in outcome.results {
            result.toSync.add(to: &toSync)
            result.toDelivery.add(to: &toDelivery)
        }
        report.parameters = ["broke": "\(toSync.totalCount)", "nodes": "\(context.nodes.count)"]
        report.toSyncMilliseconds = LatencySummary(toSync)
        report.toDeliveryMilliseconds = LatencySummary(toDelivery)
        report.checks = outcome.results.map(\.checks).reduce(DeliveryChecks(), +)
        return report
    }
}

extension BenchContext {
    /// Opens the sessions and lets them sync; then runs the scenario from the moment of a fault.
    func executeWithFault(_ plans: [WorkerPlan], _ fault: @escaping @Sendable () throws -> Void) async throws -> BenchOutcome {
        let clock = ContinuousClock()
        let opening = clock.now
        let fleet = try await WorkerFleet.open(plans, progress: progress)
        defer { fleet.stop() }
        let settled = try await fleet.run(label: "syncing", progress: progress)
        let reasons = settled.flatMap(\.closes)
        guard reasons.isEmpty else { throw BenchFailure("before the fault: \(reasons.joined(separator: "; "))") }
        let opened = clock.now - opening
        let results = try await fleet.run(label: "reconnecting", progress: progress, atStart: fault)
        await progress.finish()
        return BenchOutcome(results: results, openSeconds: opened.seconds)
    }
}
