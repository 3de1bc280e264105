import ArgumentParser

@main
struct Apus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "Instant messaging: a server, and clients for the terminal.",
        subcommands: [ServeCommand.self, BenchCommand.self])
}
