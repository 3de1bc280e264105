import ApusChaos
import ArgumentParser

struct KillTestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kill-test",
        abstract: "Kill a server of its own again and again while clients write and read, and check that nothing is lost.",
        discussion: """
            Starts `apus serve` on loopback with a temporary data directory. Prints the report on standard output and ends with 0 only when \
            every promise of the delivery contract was kept.
            """)

    @Option(help: "How often the server is killed while messages are under way.")
    var kills = 20

    @OptionGroup
    var options: ContractTestOptions

    func validate() throws {
        guard (1...1_000).contains(kills) else { throw ValidationError("1 to 1,000 kills") }
    }

    func run() async throws {
        try await options.run(faults: kills) { options, progress in
            try await KillTest.run(options, server: try .init(arguments: ["--drain-seconds", "0"]), progress: progress)
        }
    }
}
