import ArgumentParser

@main
struct Benchmarks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmarks",
        abstract: "Micro-benchmarks of the hot path. Run them on a quiet machine and in a release build.",
        subcommands: [CodecBenchmark.self, AppendBenchmark.self, ShapeBenchmark.self])
}
