import Foundation

/// A program that runs to its end.
public enum Command {
    public struct Result: Sendable {
        public var exit: ProcessExit
        public var output: String
        public var errors: String
    }

    /// Runs a program without standard input. It is killed when it does not end in time or the task is cancelled.
    /// - Throws: ``ServerProcessError`` when it did not end in time, with what it wrote; `CancellationError`.
    public static func run(
        _ binary: URL, _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment,
        timeout: Duration
    ) async throws -> Result {
        let errors = ProcessLog()
        let child = try ChildProcess(binary: binary, arguments: arguments, environment: environment, log: errors)
        let deadline = ContinuousClock.now + timeout
        return try await withTaskCancellationHandler {
            do {
                let exit = try await child.exit.get(by: deadline)
                try await child.drained.get(by: deadline)
                try Task.checkCancellation()
                return Result(exit: exit, output: child.output.text, errors: errors.text)
            } catch is DeadlineError {
                child.send(signal: SIGKILL)
                throw ServerProcessError("\(binary.path) did not end in \(timeout)\n\(child.output.text)\n\(errors.text)")
            }
        } onCancel: {
            child.send(signal: SIGKILL)
        }
    }

    /// Where a program is.
    /// - Throws: ``ServerProcessError`` when it is not installed.
    public static func locate(_ program: String) throws -> URL {
        if program.hasPrefix("/") { return URL(filePath: program) }
        let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        for directory in path + ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let file = URL(filePath: directory).appending(path: program)
            if FileManager.default.isExecutableFile(atPath: file.path) { return file }
        }
        throw ServerProcessError("\(program) is not installed; Scripts/bootstrap.sh --tests installs what the tests need")
    }
}
