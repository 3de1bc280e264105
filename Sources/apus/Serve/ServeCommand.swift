import ApusBackends
import ApusCore
import ApusServer
import ApusProtocol
import ArgumentParser
import Foundation
import NIOCore

/// How `apus serve` ends, in the numbers of sysexits.h.
enum ServeExit {
    /// A listener's address is taken or cannot be had.
    static let unavailable = ExitCode(69)
    /// Anything that nobody foresaw.
    static let software = ExitCode(70)
    /// The store is damaged, in use by another process or cannot be written.
    static let store = ExitCode(74)
    static let configuration = ExitCode(78)
}

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the server: every role in one process.",
        usage: "apus serve [--data DIR] [--http HOST:PORT] [--socket HOST:PORT] [--tcp HOST:PORT] [--config FILE] [settings]",
        discussion: """
            Prints one line of JSON on standard output once it listens: {"event":"ready","http":…,"socket":…,"tcp":…}. Logs go to standard \
            error. SIGTERM and SIGINT drain and end with 0. Other ends: 69 an address is in use, 74 the store cannot be used, \
            78 the configuration is wrong.

            Settings; command line over environment over file:

            \(ConfigurationKey.help)
            """)

    @Argument(parsing: .allUnrecognized, help: .hidden)
    var settings: [String] = []

    func run() async throws {
        guard #available(macOS 15, *) else {
            StandardError.write("apus serve: needs macOS 15 or newer, or Linux\n")
            throw ServeExit.software
        }
        let configuration: ServerConfiguration
        do {
            configuration = try await ConfigurationLoader.load(arguments: settings, environment: ProcessInfo.processInfo.environment)
        } catch let error as ConfigurationError {
            for problem in error.problems { StandardError.write("apus serve: \(problem)\n") }
            throw ServeExit.configuration
        }
        ServerLogHandler.bootstrap(configuration.log)
        do {
            try await serve(configuration)
        } catch {
            StandardError.write("apus serve: \(error)\n")
            throw Self.exitCode(for: error)
        }
    }

    static func exitCode(for error: any Error) -> ExitCode {
        switch (error as? ApusError)?.cause ?? error {
        case let error as StartError: error.exitCode
        case is StoreOpenError: ServeExit.store
        case let error as ApusError where error.code == .storeUnavailable: ServeExit.store
        case let error as IOError where [EADDRINUSE, EADDRNOTAVAIL, EACCES].contains(error.errnoCode): ServeExit.unavailable
        default: ServeExit.software
        }
    }
}

/// Why the server did not start, with what to do about it.
struct StartError: Error, CustomStringConvertible {
    var exitCode: ExitCode
    var description: String

    static func store(_ description: String) -> Self { Self(exitCode: ServeExit.store, description: description) }

    static func unavailable(_ description: String) -> Self { Self(exitCode: ServeExit.unavailable, description: description) }

    static func configuration(_ description: String) -> Self { Self(exitCode: ServeExit.configuration, description: description) }
}

/// The line on standard output that says where the server listens. Whoever started it waits for this.
struct ReadyLine: Codable, Sendable, Equatable {
    var event = "ready"
    /// `HOST:PORT`, with the port that was really taken; nil: the roles of this process have no such listener.
    var gateway: String?
    var http: String?
    var socket: String?
    var tcp: String?
    var peer: String?

    func announce() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try FileHandle.standardOutput.write(contentsOf: try encoder.encode(self) + Data("\n".utf8))
    }
}
