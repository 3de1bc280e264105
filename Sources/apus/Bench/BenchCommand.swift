import ArgumentParser

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Put a load on a server, measure it, and check that everything arrives once and in order.",
        discussion: """
            Exit codes: 0 all arrived once and in order; 1 something was lost, doubled, re-ordered, refused or unanswered, or a session broke; \
            64 wrong usage; 69 the run could not be made.
            """,
        subcommands: [
            IdleBenchCommand.self, PairsBenchCommand.self, GroupBenchCommand.self, ReconnectBenchCommand.self, WorkerBenchCommand.self,
        ])
}
