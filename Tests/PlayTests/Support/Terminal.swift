import ApusChaos
import Foundation

/// The terminal client on somebody's machine: `apus` with a home of its own, where each person is a profile.
struct Terminal {
    let server: String
    private let home: URL

    struct Ended: Sendable {
        var code: Int32
        var output: String
        var errors: String

        var lines: [String] { output.split(separator: "\n").map(String.init) }
    }

    static func with<Result>(
        _ play: Play, isolation: isolated (any Actor)? = #isolation, _ story: (Terminal) async throws -> Result
    ) async throws -> Result {
        try await with(server: "http://\(play.http)", story)
    }

    static func with<Result>(
        server: String, isolation: isolated (any Actor)? = #isolation, _ story: (Terminal) async throws -> Result
    ) async throws -> Result {
        let home = FileManager.default.temporaryDirectory.appending(path: "apus-home-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: home) }
        return try await story(Terminal(server: server, home: home))
    }

    /// Runs a command of this person to its end.
    func run(_ person: String, _ arguments: [String], input: String = "") async throws -> Ended {
        let command = try start(person, arguments)
        try command.type(input)
        command.endInput()
        return try await command.end()
    }

    /// The same, for a command that must succeed.
    @discardableResult
    func must(_ person: String, _ arguments: [String], input: String = "") async throws -> Ended {
        let ended = try await run(person, arguments, input: input)
        guard ended.code == 0 else {
            throw PlaySocket.Unexpected(description: "apus \(arguments.joined(separator: " ")) ended with \(ended.code): \(ended.errors)")
        }
        return ended
    }

    func register(_ person: String, _ options: [String] = []) async throws {
        let arguments = ["register", "--server", server, "--username", person, "--password-stdin"] + options
        try await must(person, arguments, input: "\(Person.password)\n")
    }

    func login(_ person: String) async throws {
        let arguments = ["login", "--server", server, "--username", person, "--password-stdin"]
        try await must(person, arguments, input: "\(Person.password)\n")
    }

    /// Starts a command that goes on until it is stopped.
    func start(_ person: String, _ arguments: [String]) throws -> RunningCommand {
        let environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("APUS_") }
            .merging(["APUS_HOME": home.path, "LANG": "C.UTF-8"]) { _, new in new }
        return try RunningCommand(
            SpawnedProcess(binary: try ApusBinary.locate(), arguments: arguments + ["--profile", person], environment: environment))
    }
}

/// A command of the terminal client that is under way.
final class RunningCommand: Sendable {
    /// Standard output, line by line, as it comes. For one reader.
    let lines: AsyncStream<String>
    private let process: SpawnedProcess
    private let ended: Task<Terminal.Ended, any Error>

    fileprivate init(_ process: SpawnedProcess) {
        self.process = process
        let (lines, line) = AsyncStream.makeStream(of: String.self)
        self.lines = lines
        let (outputs, wholeOutput) = AsyncStream.makeStream(of: Data.self)
        let (complaints, wholeErrors) = AsyncStream.makeStream(of: Data.self)
        Self.read(process.takeOutput(), line: line, whole: wholeOutput)
        Self.read(process.takeErrors(), line: nil, whole: wholeErrors)
        ended = Task {
            var ended = Terminal.Ended(code: -1, output: "", errors: "")
            if case .code(let code) = try await process.exit.get() { ended.code = code }
            for await data in outputs { ended.output = String(decoding: data, as: UTF8.self) }
            for await data in complaints { ended.errors = String(decoding: data, as: UTF8.self) }
            return ended
        }
    }

    /// On a thread of its own, because reading blocks.
    private static func read(_ handle: FileHandle, line: AsyncStream<String>.Continuation?, whole: AsyncStream<Data>.Continuation) {
        Thread.detachNewThread {
            var all = Data()
            var begin = all.startIndex
            // Returns what is there, unlike `read(upToCount:)`, which waits for that much; empty at the end.
            while case let bytes = handle.availableData, !bytes.isEmpty {
                all.append(bytes)
                while let end = all[begin...].firstIndex(of: UInt8(ascii: "\n")) {
                    line?.yield(String(decoding: all[begin..<end], as: UTF8.self))
                    begin = all.index(after: end)
                }
            }
            line?.finish()
            whole.yield(all)
            whole.finish()
        }
    }

    func type(_ text: String) throws { try process.input.write(contentsOf: Data(text.utf8)) }

    func endInput() { try? process.input.close() }

    /// As Ctrl-C does.
    func interrupt() { process.send(signal: SIGINT) }

    func end() async throws -> Terminal.Ended {
        try await withTaskCancellationHandler {
            try await ended.value
        } onCancel: {
            process.send(signal: SIGTERM)
        }
    }
}
