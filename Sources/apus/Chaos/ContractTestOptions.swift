import ApusChaos
import ArgumentParser
import Foundation

/// What the commands that disturb servers have in common.
struct ContractTestOptions: ParsableArguments {
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
        guard (1...1_000_000).contains(messages), (1...64).contains(writers), (1...64).contains(readers),
            (1...86_400).contains(timeLimitSeconds)
        else {
            throw ValidationError("1 to 1,000,000 messages, to 64 writers and readers, to 86,400 seconds")
        }
    }

    /// Runs a test, shows its progress, prints its report, and ends with 1 when a promise was broken.
    func run(
        faults: Int, _ test: (ContractTest.Options, @escaping @Sendable (String) -> Void) async throws -> ContractTestReport
    ) async throws {
        let options = ContractTest.Options(
            faults: faults, messages: messages, writers: writers, readers: readers, seed: seed ?? .random(in: 1...UInt64(UInt32.max)),
            timeLimit: .seconds(timeLimitSeconds))
        StandardError.write("seed \(options.seed)\n")
        let report = try await test(options) { StandardError.write($0 + "\n") }
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
