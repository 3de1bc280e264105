import ApusBackends
import ApusProtocol
import ArgumentParser
import Foundation

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy a server's database to a file, while the server runs.",
        discussion: """
            The copy is the database as it was at one moment: every message that was acknowledged before the command began is in it. To restore, \
            put it in place of apus.sqlite in an empty data directory. Ends with 74 when the database cannot be read or the file not be written.
            """)

    @Option(name: .long, help: ArgumentHelp("The data directory of the server.", valueName: "dir"))
    var data = "./data"

    @Argument(help: ArgumentHelp("The file to write; it must not exist.", valueName: "file"))
    var file: String

    func run() async throws {
        do {
            try SQLiteStore.backup(directory: URL(filePath: data), to: URL(filePath: file))
        } catch {
            let reason = (error as? ApusError)?.message ?? String(describing: error)
            StandardError.write("apus backup: \(reason)\n")
            throw ServeExit.store
        }
    }
}
