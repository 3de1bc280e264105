import ArgumentParser
import Foundation

/// What every scenario of `apus bench` takes.
struct BenchOptions: ParsableArguments {
    @Option(help: ArgumentHelp("HTTP address of the server.", valueName: "url"))
    var server = "http://127.0.0.1:8080"

    @Option(help: "What carries the frames: websocket or tcp.")
    var carrier = BenchCarrier.websocket

    @Option(help: "Users of the load are named PREFIX-0, PREFIX-1 …; they are registered when they do not exist.")
    var prefix = "bench"

    @Option(help: "Password of the users of the load.")
    var password = "apus-bench-password"

    @Option(help: "Users that log in at the same time.")
    var loginsAtOnce = 8

    @Option(help: "Sessions that one process connects at the same time.")
    var connectsAtOnce = 64

    @Option(help: "Processes that make the load; by default as few as may open enough files.")
    var processes: Int?

    @Option(help: ArgumentHelp("Process id of the server on this machine, to report its memory and CPU time.", valueName: "pid"))
    var serverPid: Int32?

    @Option(help: ArgumentHelp("Also write the report as JSON to FILE; - is stdout, instead of the table.", valueName: "file"))
    var json: String?

    @Option(help: ArgumentHelp("Directory for the tokens of earlier runs; by default bench in APUS_HOME.", valueName: "dir"))
    var cache: String?

    func validate() throws {
        guard loginsAtOnce > 0, connectsAtOnce > 0 else {
            throw ValidationError("the numbers of parallel logins and connects are 1 or more")
        }
        if let processes, !(1...256).contains(processes) { throw ValidationError("--processes is 1 to 256") }
    }

    /// One process may open 20,000 files where limits are as usual; some are not sockets.
    static let sessionsPerProcessMax = 15_000

    /// Processes for so many sessions. Never more than `units`, which cannot be divided.
    func processCount(sessions: Int, units: Int) -> Int {
        let needed = (sessions + Self.sessionsPerProcessMax - 1) / Self.sessionsPerProcessMax
        return max(1, min(units, processes ?? needed))
    }

    /// The file that remembers tokens, one for each server and prefix.
    func cacheFile() -> URL {
        let directory = cache.map { URL(fileURLWithPath: $0) } ?? ApusHome.directory.appendingPathComponent("bench")
        let name = "\(server)-\(prefix)".map { $0.isLetter || $0.isNumber ? String($0) : "-" }.joined()
        return directory.appendingPathComponent(name + ".jsonl")
    }

    /// One process for all sessions gets local addresses of the system's choice. Of several, each gets an address of its own where
    /// the server is on this machine: 28,000 sessions use up the ports of one.
    func source(process: Int, of count: Int, nodes: [BenchNode]) -> String? {
        guard count > 1, nodes.allSatisfy({ $0.host.hasPrefix("127.") || $0.host == "localhost" }) else { return nil }
        #if os(Linux)
        return "127.0.0.\(process % 254 + 1)"
        #else
        return nil
        #endif
    }
}

/// A run of a scenario: what it has logged in, and how it measures the server.
struct BenchContext: Sendable {
    let api: BenchAPI
    let accounts: [BenchAccount]
    /// All socket nodes there are.
    let nodes: [BenchNode]
    let probe: ServerProbe?
    let progress: ProgressLine
    /// Distinguishes the messages of this run from those of all others; below 2^40.
    let run: UInt64

    static func prepare(_ options: BenchOptions, accounts count: Int) async throws -> BenchContext {
        let api = BenchAPI(server: options.server)
        let progress = ProgressLine()
        let source = BenchAccounts(
            api: api, prefix: options.prefix, password: options.password, cache: try TokenCache(url: options.cacheFile()),
            loginsAtOnceMax: options.loginsAtOnce)
        let accounts = try await source.prepare(count, progress: progress)
        guard !accounts.isEmpty else { throw BenchFailure("a load needs at least one user") }
        let probe = options.serverPid.map(ServerProbe.init)
        _ = try probe?.sample()
        return BenchContext(
            api: api, accounts: accounts,
            nodes: try await api.nodes(carrier: options.carrier, tokens: accounts.map(\.accessToken)), probe: probe, progress: progress,
            run: UInt64.random(in: 1..<(1 << 40)))
    }

    /// Opens the sessions, runs the scenario, and reads the server's figures around it.
    func execute(_ plans: [WorkerPlan], label: String) async throws -> BenchOutcome {
        let idle = try probe?.sample()
        let clock = ContinuousClock()
        let opening = clock.now
        let fleet = try await WorkerFleet.open(plans, progress: progress)
        defer { fleet.stop() }
        let opened = clock.now - opening
        let before = try probe?.sample()
        let results = try await fleet.run(label: label, progress: progress)
        let after = try probe?.sample()
        await progress.finish()
        return BenchOutcome(results: results, openSeconds: opened.seconds, idle: idle, before: before, after: after)
    }
}

struct BenchOutcome: Sendable {
    var results: [WorkerResult]
    var openSeconds: Double
    /// The server without the load's sessions, with them before the scenario, and at its end.
    var idle: ServerProbe.Sample?
    var before: ServerProbe.Sample?
    var after: ServerProbe.Sample?
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// Splits `count` things over `parts`, the earlier parts getting one more.
func evenRanges(_ count: Int, parts: Int) -> [Range<Int>] {
    (0..<parts).map { part in (count * part / parts)..<(count * (part + 1) / parts) }
}

/// Runs the body of a bench command: a failure is one line on stderr and exit code 69.
func reportingFailures(_ body: () async throws -> Void) async throws {
    do {
        try await body()
    } catch let exit as ExitCode {
        throw exit
    } catch {
        Output.note("apus bench: \(error)")
        throw ExitCode(69)
    }
}
