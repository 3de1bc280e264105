import ApusCore
import ApusProtocol
import ArgumentParser
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Testing

@testable import apus

@Suite("Logs of the server")
struct ServerLogTests {
    /// A logger and the lines that it wrote.
    private func makeLogger(_ format: LogFormat, level: Logger.Level = .info) -> (Logger, NIOLockedValueBox<[String]>) {
        let lines = NIOLockedValueBox<[String]>([])
        let logger = Logger(label: "apus.socket") { label in
            ServerLogHandler(label: label, level: LiveSetting(level), format: format) { line in lines.withLockedValue { $0.append(line) } }
        }
        return (logger, lines)
    }

    @Test("A JSON line is one object with time, level, label, message and metadata")
    func jsonLine() throws {
        let (logger, lines) = makeLogger(.json)
        logger.warning("two\nlines", metadata: ["session": "7"])
        let line = try #require(lines.withLockedValue { $0.first })
        #expect(line.last == "\n" && line.dropLast().contains("\n") == false)
        let fields = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
        #expect(fields["level"] == "warning")
        #expect(fields["label"] == "apus.socket")
        #expect(fields["message"] == "two\nlines")
        #expect(fields["session"] == "7")
        #expect(try Date(#require(fields["at"]), strategy: LogRecord.timeFormat).timeIntervalSinceNow.magnitude < 60)
    }

    @Test("A text record is one line, whatever the message contains")
    func textLine() throws {
        let (logger, lines) = makeLogger(.text)
        logger.error("two\nlines", metadata: ["b": "2", "a": "1"])
        let line = try #require(lines.withLockedValue { $0.first })
        #expect(line.hasSuffix(" error apus.socket: two\\nlines a=1 b=2\n"))
        #expect(line.filter { $0 == "\n" }.count == 1)
    }

    @Test("Nothing below the level is logged")
    func level() {
        let (logger, lines) = makeLogger(.text, level: .warning)
        logger.info("not this")
        logger.warning("but this")
        #expect(lines.withLockedValue { $0.count } == 1)
    }
}

@Suite("Exit codes of the server")
struct ServeExitTests {
    @Test("Each kind of failure has its exit code")
    func exitCodes() {
        #expect(ServeCommand.exitCode(for: StartError.store("damaged")) == ServeExit.store)
        #expect(ServeCommand.exitCode(for: ApusError(.storeUnavailable, "locked")) == ServeExit.store)
        #expect(ServeCommand.exitCode(for: IOError(errnoCode: EADDRINUSE, reason: "bind")) == ServeExit.unavailable)
        #expect(ServeCommand.exitCode(for: StartError.configuration("x")) == ExitCode(78))
        #expect(ServeCommand.exitCode(for: ApusError(.internal, "bug")) == ServeExit.software)
    }
}
