import ApusChaos
import ArgumentParser
import Foundation

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

    @Option(help: "Messages of all writers together.")
    var messages = 20_000

    @Option(help: "Accounts that write.")
    var writers = 4

    @Option(help: "Accounts that only read; writers read too.")
    var readers = 4

    @Option(help: "Repeats the choices of an earlier run; without it they are new ones.")
    var seed: UInt64?

    @Option(help: "The run fails when it takes longer.")
    var timeLimitSeconds = 900

    @Flag(help: "The report as JSON.")
    var json = false

    func validate() throws {
        guard (1...1_000).contains(kills), (1...1_000_000).contains(messages), (1...64).contains(writers), (1...64).contains(readers),
            (1...86_400).contains(timeLimitSeconds)
        else {
            throw ValidationError("1 to 1,000 kills, to 1,000,000 messages, to 64 writers and readers, to 86,400 seconds")
        }
    }

    func run() async throws {
        let options = ContractTest.Options(
            faults: kills, messages: messages, writers: writers, readers: readers, seed: seed ?? .random(in: 1...UInt64(UInt32.max)),
            timeLimit: .seconds(timeLimitSeconds))
        StandardError.write("seed \(options.seed)\n")
        let report = try await KillTest.run(options, server: try .init(arguments: ["--drain-seconds", "0"])) { line in
            StandardError.write(line + "\n")
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(report)
        }
        if !report.violations.isEmpty { throw ExitCode.failure }
    }
}
