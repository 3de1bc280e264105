import ApusBackends
import ApusProtocol
import ArgumentParser
import Foundation

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Move the data of a single node into the database of a cluster.",
        discussion: """
            Copies everything that a stopped server keeps in its data directory into an empty MySQL database, and then reads both and compares \
            each table by its number of rows and a hash of them. Afterwards nodes of a cluster go on with these data: clients notice nothing. \
            The data directory is locked meanwhile and stays as it is. Killed or failed, it goes on where it stopped when it is started again; \
            no node starts on the database before it has come to its end.

            A password in --to can be seen by other users of this machine: leave --to out and put the URL into APUS_CLUSTER_STORE instead.

            Prints one line for each table. Ends with 0 only when both sides are equal; with 65 when they are not, 69 when MySQL does not \
            answer, 74 when the data directory or the database cannot be used, 78 when the configuration is wrong.
            """)

    @Option(help: ArgumentHelp("The data directory of the single node, which is stopped.", valueName: "sqlite:DIR"))
    var from: String

    @Option(
        help: ArgumentHelp(
            "The database of the cluster; default: APUS_CLUSTER_STORE.", valueName: "mysql://USER:PASSWORD@HOST:PORT/DATABASE"))
    var to: String?

    @Flag(help: "Compare only, and change nothing.")
    var verifyOnly = false

    @Flag(help: "Print the result as one line of JSON.")
    var json = false

    func validate() throws {
        guard from.hasPrefix("sqlite:"), from.count > "sqlite:".count else {
            throw ValidationError("--from is sqlite: and a data directory, as in sqlite:/var/lib/apus")
        }
    }

    #if Cluster
    func run() async throws {
        let report: DataMigrationReport
        do {
            let migration = DataMigration(from: URL(filePath: String(from.dropFirst("sqlite:".count))), to: try target)
            let progress = MigrationProgressLines()
            report =
                verifyOnly
                ? try await migration.verify(progress: progress.show) : try await migration.run(progress: progress.show)
        } catch {
            StandardError.write("apus migrate: \((error as? ApusError)?.message ?? String(describing: error))\n")
            throw Self.exitCode(for: error)
        }
        try print(report)
        guard report.isEqual else { throw Self.notEqual }
    }

    /// EX_DATAERR.
    private static let notEqual = ExitCode(65)

    private var target: MySQLConfiguration {
        get throws {
            guard let url = to ?? ProcessInfo.processInfo.environment["APUS_CLUSTER_STORE"], !url.isEmpty else {
                throw ApusError(.invalidArgument, "there is neither --to nor APUS_CLUSTER_STORE: where shall the data go?")
            }
            return try MySQLConfiguration(url: url)
        }
    }

    private static func exitCode(for error: any Error) -> ExitCode {
        switch error {
        case let error as StoreOpenError: error.reason == .unreachable ? ServeExit.unavailable : ServeExit.store
        case let error as ApusError where error.code == .invalidArgument: ServeExit.configuration
        default: ServeExit.software
        }
    }

    private func print(_ report: DataMigrationReport) throws {
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            Output.line(String(decoding: try encoder.encode(MigrationResult(report)), as: UTF8.self))
        } else {
            for line in MigrationResult(report).lines { Output.line(line) }
        }
        if !report.isEqual {
            Output.note("The two sides are not equal. Do not start a cluster on this database.")
        } else if !report.isFinished {
            Output.note("Equal, but the migration has not come to its end: run apus migrate without --verify-only.")
        }
    }
    #else
    func run() throws {
        StandardError.write("apus migrate: \(StartError.noCluster)\n")
        throw ServeExit.configuration
    }
    #endif
}
