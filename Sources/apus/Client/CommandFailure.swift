import ApusClient
import ApusProtocol
import ArgumentParser
import Foundation

/// How a client command ends when it does not succeed; the numbers of sysexits.h where there is one. 64, wrong usage, comes from
/// the argument parser.
enum CommandExit: Int32 {
    /// The server said no, or there is no such thing.
    case refused = 1
    /// What was read is not what it should be.
    case data = 65
    /// No connection to the server could be made.
    case unreachable = 69
    case software = 70
    /// The local store or another file failed.
    case local = 74
    /// Not done yet: the same may succeed later. A message waits in the outbox.
    case later = 75
    /// Nobody is logged in with this profile, the login has ended, or the server refused it.
    case notLoggedIn = 77

    static let help = """
        Exit codes: 0 done; 1 the server refused; 64 wrong usage; 69 the server cannot be reached; 70 internal error; 74 a local file failed; \
        75 not done yet, try again (a message stays in the outbox and goes out first next time); 77 not logged in, or the login was refused.
        """
}

/// Why a command ends, for people and as an exit code.
struct CommandFailure: Error {
    var exit: CommandExit
    var message: String

    init(_ exit: CommandExit, _ message: String) {
        self.exit = exit
        self.message = message
    }

    init(_ error: ApusError) {
        exit = CommandExit(error.code)
        message = error.code == .notLoggedIn ? "not logged in: apus login" : error.message
    }

    static func notLoggedIn(profile: String) -> Self {
        Self(.notLoggedIn, "nobody is logged in with the profile \(profile): apus login --server URL --username NAME")
    }
}

extension CommandExit {
    init(_ code: ErrorCode) {
        switch code {
        case .unreachable: self = .unreachable
        case .notLoggedIn, .unauthenticated: self = .notLoggedIn
        case .localStore: self = .local
        case .timedOut, .clientClosed: self = .later
        case .badAnswer, .internal: self = .software
        case _ where code.isRetryable: self = .later
        default: self = .refused
        }
    }
}

/// A command of the terminal client: says what went wrong in one line on stderr and ends with a code that a script can use.
protocol ClientCommand: AsyncParsableCommand {
    var options: ProfileOptions { get }
    func execute() async throws
}

extension ClientCommand {
    func run() async throws {
        do {
            try await execute()
        } catch let failure as CommandFailure {
            try Self.end(failure)
        } catch let error as ApusError {
            try Self.end(CommandFailure(error))
        } catch let error as ExitCode {
            throw error
        } catch {
            try Self.end(CommandFailure(.local, "\(error)"))
        }
    }

    private static func end(_ failure: CommandFailure) throws -> Never {
        Output.note("apus: \(failure.message)")
        throw ExitCode(failure.exit.rawValue)
    }

    /// Opens the client, runs `body` and closes the client whatever happens.
    func withClient<Result: Sendable>(
        server: URL? = nil, sends: Bool = false, _ body: (Client) async throws -> Result
    ) async throws -> Result {
        let client = try options.client(server: server, sends: sends)
        do {
            let result = try await body(client)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }
}
