import ApusProtocol
import ArgumentParser
import Foundation

/// What a run found: the same figures as a table for people and as JSON for programs.
struct BenchReport: Codable, Sendable {
    struct Server: Codable, Sendable {
        var pid: Int32
        /// Resident memory without the load's sessions, with them, and at the end.
        var residentBytesIdle: Int
        var residentBytesOpen: Int
        var residentBytesEnd: Int
        /// During the scenario.
        var cpuSeconds: Double
    }

    struct GroupMessage: Codable, Sendable {
        var index: Int
        var arrivals: LatencySummary
    }

    var scenario: String
    var server: String
    var carrier: BenchCarrier
    var processes: Int
    var sessions: Int
    var users: Int
    var parameters: [String: String] = [:]
    /// Time to open all sessions, hello and welcome included.
    var openSeconds: Double
    var bytesPerSession: Int?
    var acknowledgedPerSecond: Double?
    var deliveredPerSecond: Double?
    var acknowledgedPerServerCPUSecond: Double?
    var toAckMilliseconds: LatencySummary?
    var toDeliveryMilliseconds: LatencySummary?
    /// Scenario reconnect: from the fault until a session is welcome again and has synced.
    var toSyncMilliseconds: LatencySummary?
    var messages: [GroupMessage]?
    /// Scenario group: the moment at which the last member had a message, over all messages.
    var lastArrivalMilliseconds: LatencySummary?
    var checks: DeliveryChecks?
    var closedSessions: Int
    var closes: [String]
    var process: Server?

    init(scenario: String, options: BenchOptions, context: BenchContext, processes: Int, sessions: Int, outcome: BenchOutcome) {
        self.scenario = scenario
        server = options.server
        carrier = options.carrier
        self.processes = processes
        self.sessions = sessions
        users = context.accounts.count
        openSeconds = outcome.openSeconds
        closedSessions = outcome.results.map(\.closedSessions).reduce(0, +)
        closes = Array(Set(outcome.results.flatMap(\.closes)).sorted().prefix(8))
        if let probe = context.probe, let idle = outcome.idle, let before = outcome.before, let after = outcome.after {
            process = Server(
                pid: probe.pid, residentBytesIdle: idle.residentBytes, residentBytesOpen: before.residentBytes,
                residentBytesEnd: after.residentBytes, cpuSeconds: after.cpuSeconds - before.cpuSeconds)
        }
    }

    /// Whether every message arrived once and in order, and no session broke.
    var isClean: Bool { closedSessions == 0 && checks?.isClean != false }

    /// Writes the report where the options say and ends the command with 1 when something went wrong.
    func publish(_ options: BenchOptions) throws {
        if let json = options.json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            let data = try encoder.encode(self)
            if json == "-" {
                Output.line(String(decoding: data, as: UTF8.self))
            } else {
                try (data + Data("\n".utf8)).write(to: URL(fileURLWithPath: json))
            }
        }
        if options.json != "-" { Output.line(table) }
        if !isClean { throw ExitCode(1) }
    }

    // MARK: The table

    var table: String {
        var rows: [(String, String)] = [
            ("scenario", scenario + parameters.sorted { $0.key < $1.key }.map { ", \($0.key) \($0.value)" }.joined()),
            ("server", "\(server), \(carrier.rawValue)"),
            (
                "sessions",
                "\(sessions) of \(users) user\(users == 1 ? "" : "s") from \(processes) process\(processes == 1 ? "" : "es"), opened in \(text(openSeconds)) s"
            ),
        ]
        if let acknowledgedPerSecond { rows.append(("acknowledged", "\(text(acknowledgedPerSecond, digits: 0))/s")) }
        if let deliveredPerSecond { rows.append(("delivered", "\(text(deliveredPerSecond, digits: 0))/s")) }
        if let process { rows += rowsOf(process) }
        if let checks { rows.append(("checks", describe(checks))) }
        if closedSessions > 0 { rows.append(("broken sessions", "\(closedSessions): \(closes.joined(separator: "; "))")) }
        let width = rows.map(\.0.count).max() ?? 0
        var lines = rows.map { $0.0.padding(toLength: width + 2, withPad: " ", startingAt: 0) + $0.1 }
        lines += latencies
        return lines.joined(separator: "\n")
    }

    private func rowsOf(_ process: Server) -> [(String, String)] {
        func mebibytes(_ bytes: Int) -> String { text(Double(bytes) / 1_048_576, digits: 1) + " MiB" }
        var rows = [
            (
                "server memory",
                "\(mebibytes(process.residentBytesIdle)) before, \(mebibytes(process.residentBytesOpen)) with the sessions, "
                    + "\(mebibytes(process.residentBytesEnd)) at the end"
            )
        ]
        if let bytesPerSession { rows.append(("per session", "\(bytesPerSession) bytes of resident memory")) }
        rows.append(("server CPU", "\(text(process.cpuSeconds)) s"))
        if let perSecond = acknowledgedPerServerCPUSecond {
            rows.append(("per server CPU-second", "\(text(perSecond, digits: 0)) acknowledged messages"))
        }
        return rows
    }

    private func describe(_ checks: DeliveryChecks) -> String {
        let counts = "\(checks.sent) sent, \(checks.acknowledged) acknowledged, \(checks.delivered) delivered"
        let faults = [
            ("refused", checks.refused), ("unanswered", checks.unanswered), ("LOST", checks.lost), ("DOUBLED", checks.doubled),
            ("RE-ORDERED", checks.reordered), ("GAPS", checks.gaps),
        ].filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }
        return counts + "; " + (faults.isEmpty ? "each once and in order" : faults.joined(separator: ", "))
    }

    private var latencies: [String] {
        var rows: [(String, LatencySummary)] = []
        if let toAckMilliseconds { rows.append(("send to ack", toAckMilliseconds)) }
        if let toDeliveryMilliseconds { rows.append(("send to deliver", toDeliveryMilliseconds)) }
        if let toSyncMilliseconds { rows.append(("fault to sync", toSyncMilliseconds)) }
        for message in messages ?? [] { rows.append(("message \(message.index + 1)", message.arrivals)) }
        if let lastArrivalMilliseconds { rows.append(("all have it", lastArrivalMilliseconds)) }
        guard !rows.isEmpty else { return [] }
        func line(_ name: String, _ cells: [String]) -> String {
            name.padding(toLength: 17, withPad: " ", startingAt: 0)
                + cells.map { String(repeating: " ", count: max(1, 10 - $0.count)) + $0 }.joined()
        }
        let head = line("milliseconds", ["count", "mean", "p50", "p90", "p99", "p99.9", "max"])
        return ["", head]
            + rows.map { name, row in
                line(name, [String(row.count)] + [row.mean, row.p50, row.p90, row.p99, row.p999, row.max].map { text($0) })
            }
    }

    private func text(_ value: Double, digits: Int = 2) -> String { String(format: "%.\(digits)f", value) }
}
