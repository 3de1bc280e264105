import ApusProtocol
import ArgumentParser

struct GroupBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group", abstract: "One message to a group whose members are all connected: when do all have it?")

    @OptionGroup var options: BenchOptions

    @Option(help: "Members of the group, each a user with one session; the first one sends.")
    var members = 1000

    @Option(help: "Messages.")
    var messages = 10

    @Option(help: "Seconds from one message to the next.")
    var interval = 1.0

    @Option(help: "Seconds to wait at the end for what is missing.")
    var drain = 15.0

    @Option(help: "Bytes of a message's body.")
    var size = 150

    func validate() throws {
        guard (2...1_000_000).contains(members), (1...100_000).contains(messages) else {
            throw ValidationError("--members is 2 to 1000000, --messages 1 to 100000")
        }
        guard interval >= 0, drain > 0, size > 0 else { throw ValidationError("--interval is 0 or more, --drain and --size above 0") }
    }

    func run() async throws {
        try await reportingFailures {
            let context = try await BenchContext.prepare(options, accounts: members)
            let group = try await findOrMakeGroup(context)
            let processes = options.processCount(sessions: members, units: members)
            let plans = evenRanges(members, parts: processes).enumerated().map { index, range in
                WorkerPlan(
                    nodes: context.nodes, source: options.source(process: index, of: processes, nodes: context.nodes),
                    tokens: context.accounts[range].map(\.accessToken), connectsAtOnceMax: options.connectsAtOnce,
                    scenario: .group(
                        GroupPlan(
                            run: context.run, conversation: group, sends: index == 0, messages: messages, intervalSeconds: interval,
                            drainSeconds: drain, bodyBytes: size)))
            }
            let outcome = try await context.execute(plans, label: "sending")
            try report(outcome, context: context, processes: processes).publish(options)
        }
    }

    /// The group of an earlier run with as many members, or a new one: ten thousand invitations take a while.
    private func findOrMakeGroup(_ context: BenchContext) async throws -> ConversationID {
        let owner = context.accounts[0]
        let title = "\(options.prefix) \(members)"
        var after: ConversationID?
        repeat {
            let page = try await context.api.conversations(token: owner.accessToken, after: after)
            if let known = page.conversations.first(where: { $0.kind == .group && $0.title == title && $0.memberCount == members }) {
                return known.id
            }
            after = page.next
        } while after != nil
        let request = NewConversationRequest(kind: .group, title: title, members: [])
        let group = try await context.api.conversation(request, token: owner.accessToken)
        let others = context.accounts.dropFirst().map(\.id)
        for batch in stride(from: 0, to: others.count, by: Self.invitationsAtOnce) {
            let invited = Array(others[batch..<min(batch + Self.invitationsAtOnce, others.count)])
            try await context.api.invite(invited, to: group.id, token: owner.accessToken)
            await context.progress.show("inviting: \(batch + invited.count) of \(others.count)")
        }
        return group.id
    }

    private static let invitationsAtOnce = 100

    private func report(_ outcome: BenchOutcome, context: BenchContext, processes: Int) -> BenchReport {
        var report = BenchReport(
            scenario: "group", options: options, context: context, processes: processes, sessions: members, outcome: outcome)
        report.parameters = ["messages": "\(messages)", "interval": "\(interval) s", "bytes": "\(size)"]
        var toAck = LatencyHistogram.latency()
        var all = LatencyHistogram.latency()
        var last = LatencyHistogram.latency()
        for result in outcome.results { result.toAck.add(to: &toAck) }
        report.messages = (0..<messages).map { index in
            var arrivals = LatencyHistogram.latency()
            for result in outcome.results where index < result.perMessage.count { result.perMessage[index].add(to: &arrivals) }
            all.add(arrivals)
            last.record(arrivals.totalCount == 0 ? 0 : arrivals.maxRecorded)
            return BenchReport.GroupMessage(index: index, arrivals: LatencySummary(arrivals))
        }
        report.toAckMilliseconds = LatencySummary(toAck)
        report.toDeliveryMilliseconds = LatencySummary(all)
        report.lastArrivalMilliseconds = LatencySummary(last)
        report.checks = outcome.results.map(\.checks).reduce(DeliveryChecks(), +)
        return report
    }
}
