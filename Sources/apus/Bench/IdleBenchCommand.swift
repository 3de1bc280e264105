import ArgumentParser

struct IdleBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle", abstract: "Hold authenticated sessions that do nothing: what does a session cost the server?")

    @OptionGroup var options: BenchOptions

    @Option(help: "Sessions to hold.")
    var sessions = 10_000

    @Option(help: "Users that the sessions are divided among; by default one for every 100 sessions.")
    var users: Int?

    @Option(help: "Seconds to hold them; the server's memory is read at the end.")
    var hold = 5.0

    func validate() throws {
        guard sessions > 0, hold >= 0 else { throw ValidationError("--sessions is 1 or more and --hold 0 or more") }
        if let users, !(1...sessions).contains(users) { throw ValidationError("--users is 1 to the number of sessions") }
    }

    func run() async throws {
        try await reportingFailures {
            let context = try await BenchContext.prepare(options, accounts: users ?? max(1, sessions / 100))
            let processes = options.processCount(sessions: sessions, units: sessions)
            let plans = evenRanges(sessions, parts: processes).enumerated().map { index, range in
                WorkerPlan(
                    nodes: context.nodes, source: options.source(process: index, of: processes, nodes: context.nodes),
                    tokens: range.map { context.accounts[$0 % context.accounts.count].accessToken },
                    connectsAtOnceMax: options.connectsAtOnce, scenario: .idle(seconds: hold))
            }
            let outcome = try await context.execute(plans, label: "holding")
            var report = BenchReport(
                scenario: "idle", options: options, context: context, processes: processes, sessions: sessions, outcome: outcome)
            if let process = report.process {
                report.bytesPerSession = (process.residentBytesEnd - process.residentBytesIdle) / sessions
            }
            try report.publish(options)
        }
    }
}
