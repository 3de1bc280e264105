import Foundation
import NIOCore
import NIOPosix

/// A server did not do what it was told to, with the end of its log.
public struct ServerProcessError: Error, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// A real `apus serve` with a data directory of its own, for tests and the kill test: start, kill, start again on the same ports and
/// data. It never outlives ``with(_:_:)``, nor the process that started it.
public actor ServerProcess {
    public struct Options: Sendable {
        public var binary: URL
        /// Settings for `apus serve`, without data directory and listeners.
        public var arguments: [String]
        /// In addition to this process's environment, from which settings of Apus are taken out.
        public var environment: [String: String]
        /// Of the listeners.
        public var host = "127.0.0.1"
        /// A program and its arguments that run what follows them in their place; empty: none.
        public var launcher: [String] = []
        /// Nil: a temporary directory that is removed at the end.
        public var data: URL?
        /// For a start and for an end, each.
        public var timeout: Duration

        public init(
            binary: URL? = nil, arguments: [String] = [], environment: [String: String] = [:], data: URL? = nil,
            timeout: Duration = .seconds(60)
        ) throws {
            self.binary = try binary ?? ApusBinary.locate()
            self.arguments = arguments
            self.environment = environment
            self.data = data
            self.timeout = timeout
        }
    }

    /// Where a server listens, as its ready line says: `HOST:PORT` each; empty: its roles have no such listener.
    public struct Endpoints: Codable, Hashable, Sendable {
        public var http: String
        public var socket: String
        public var tcp: String
        public var gateway: String
        public var peer: String

        public init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            func address(_ key: CodingKeys) throws -> String { try container.decodeIfPresent(String.self, forKey: key) ?? "" }
            http = try address(.http)
            socket = try address(.socket)
            tcp = try address(.tcp)
            gateway = try address(.gateway)
            peer = try address(.peer)
        }

        public var httpURL: URL {
            get throws {
                guard let url = URL(string: "http://\(http)") else { throw ServerProcessError("\(http) is no HOST:PORT") }
                return url
            }
        }

        /// The listeners as settings of `apus serve`; of those that do not exist yet any free port.
        static func settings(_ known: Endpoints?, but given: [String], host: String) -> [String] {
            let listeners: [(String, KeyPath<Endpoints, String>)] = [
                ("--http", \.http), ("--socket", \.socket), ("--tcp", \.tcp), ("--gateway", \.gateway), ("--peer", \.peer),
            ]
            return listeners.filter { !given.contains($0.0) }.flatMap { flag, path in
                let address = known?[keyPath: path] ?? ""
                return [flag, address.isEmpty ? "\(host):0" : address]
            }
        }
    }

    private enum State {
        case stopped
        case starting(ChildProcess)
        case running(ChildProcess)
        /// It was told to end.
        case ending(ChildProcess)
    }

    /// What `apus serve` ends with when an address is taken (`EX_UNAVAILABLE`).
    private static let addressTaken = ProcessExit.code(69)

    public nonisolated let data: URL
    public nonisolated let log = ProcessLog()
    private let options: Options
    private var state = State.stopped
    /// Of the last start; the next one listens there again.
    public private(set) var endpoints: Endpoints?

    /// Starts a server, hands it over, and kills it if `body` left it running, also when the task is cancelled.
    public static func with<Result>(
        _ options: Options, isolation: isolated (any Actor)? = #isolation, _ body: (ServerProcess, Endpoints) async throws -> Result
    ) async throws -> Result {
        let temporary = FileManager.default.temporaryDirectory.appending(path: "apus-\(UUID().uuidString)")
        let server = ServerProcess(options, data: options.data ?? temporary)
        do {
            let result = try await body(server, try await server.start())
            await server.kill()
            try? FileManager.default.removeItem(at: temporary)
            return result
        } catch {
            await server.kill()
            try? FileManager.default.removeItem(at: temporary)
            throw error
        }
    }

    /// Not running yet. Whoever makes one without ``with(_:_:)`` kills it in the end and removes `data`.
    init(_ options: Options, data: URL) {
        self.options = options
        self.data = data
    }

    /// Starts the server, again on the same ports and data if it ran before, and returns when it listens.
    /// - Throws: ``ServerProcessError``; `CancellationError`.
    @discardableResult
    public func start() async throws -> Endpoints {
        guard case .stopped = state else { throw ServerProcessError("the server is running already") }
        let deadline = ContinuousClock.now + options.timeout
        while true {
            let (child, listening) = try await launch(deadline: deadline)
            if let listening {
                // A kill may have come while the line was on its way.
                guard case .starting(let current) = state, current === child else { throw ServerProcessError("killed while it started") }
                state = .running(child)
                endpoints = listening
                return listening
            }
            try Task.checkCancellation()
            // While nobody listened, a port may have become the local port of some connection; those go away by themselves.
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// - Returns: no endpoints when an address is taken and there is time for another try.
    private func launch(deadline: ContinuousClock.Instant) async throws -> (ChildProcess, Endpoints?) {
        let program = try options.launcher.first.map { try Command.locate($0) }
        let child = try ChildProcess(
            binary: program ?? options.binary,
            arguments: program == nil ? arguments : options.launcher.dropFirst() + [options.binary.path] + arguments,
            environment: environment, log: log)
        state = .starting(child)
        let line = await withTaskCancellationHandler {
            await Result { try await child.firstLine.get(by: deadline) }
        } onCancel: {
            child.send(signal: SIGKILL)
        }
        switch line {
        case .success(let line):
            guard let endpoints = try? JSONDecoder().decode(Endpoints.self, from: Data(line.utf8)) else {
                await kill()
                throw failure("did not say that it is ready but: \(line)")
            }
            return (child, endpoints)
        case .failure(let error):
            child.send(signal: error is DeadlineError ? SIGKILL : 0)
            let exit = try await child.exit.get()
            stopped(child)
            try Task.checkCancellation()
            if exit == Self.addressTaken, endpoints != nil, ContinuousClock.now < deadline { return (child, nil) }
            throw failure("did not start: \(error is DeadlineError ? "not ready in time" : exit.description)")
        }
    }

    /// `kill -9`; returns when the process is gone. Does nothing when it is stopped.
    public func kill() async {
        guard let child = current else { return }
        state = .ending(child)
        child.send(signal: SIGKILL)
        _ = try? await child.exit.get()
        stopped(child)
    }

    /// SIGTERM; returns when the server has drained and ended.
    /// - Throws: ``ServerProcessError`` when it does not end in time or not with 0.
    public func terminate() async throws {
        guard let child = current else { throw ServerProcessError("the server is not running") }
        state = .ending(child)
        child.send(signal: SIGTERM)
        do {
            let exit = try await child.exit.get(by: .now + options.timeout)
            stopped(child)
            guard exit == .code(0) else { throw failure("ended after SIGTERM with \(exit)") }
        } catch is DeadlineError {
            await kill()
            throw failure("did not end in time after SIGTERM")
        }
    }

    /// SIGTERM, and a start once it has ended: the drain included.
    public func restart() async throws {
        try await terminate()
        try await start()
    }

    /// Freezes the process as a machine does that swaps or is paused, or lets it go on.
    public func setPaused(_ paused: Bool) { current?.send(signal: paused ? SIGSTOP : SIGCONT) }

    /// Nil while it is stopped.
    public var processID: Int32? { current?.id }

    /// False also when it has ended by itself.
    public var isRunning: Bool { current.map { !$0.hasExited } ?? false }

    /// Starts the server again if it has ended by itself: what a supervisor does.
    /// - Returns: how it had ended.
    public func startIfEnded() async throws -> ProcessExit? {
        guard case .running(let child) = state, child.hasExited else { return nil }
        state = .stopped
        try await start()
        return try await child.exit.get()
    }

    /// How the running life ends; nil while it is stopped.
    public func exit() async throws -> ProcessExit? { try await current?.exit.get() }

    private var current: ChildProcess? {
        switch state {
        case .stopped: nil
        case .starting(let child), .running(let child), .ending(let child): child
        }
    }

    /// Meanwhile another life may have begun; that one is left alone.
    private func stopped(_ child: ChildProcess) {
        if current === child { state = .stopped }
    }

    private var arguments: [String] {
        // What is tested is not how long a password takes, least of all in a debug build.
        ["serve", "--data", data.path] + Endpoints.settings(endpoints, but: options.arguments, host: options.host) + cheapPasswords
            + options.arguments
    }

    private var cheapPasswords: [String] {
        options.arguments.contains("--auth-password-cost") ? [] : ["--auth-password-cost", "10"]
    }

    private var environment: [String: String] {
        ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("APUS_") }.merging(options.environment) { _, new in new }
    }

    private func failure(_ what: String) -> ServerProcessError {
        ServerProcessError("apus serve \(what)\n\(log.tail(lines: 40))")
    }
}

struct DeadlineError: Error {}

extension EventLoopFuture where Value: Sendable {
    /// - Throws: ``DeadlineError``; what the future fails with.
    func get(by deadline: ContinuousClock.Instant) async throws -> Value {
        let promise = eventLoop.makePromise(of: Value.self)
        let time = TimeAmount.nanoseconds(Int64(max(.zero, deadline - .now) / .nanoseconds(1)))
        let timer = eventLoop.scheduleTask(in: time) { promise.fail(DeadlineError()) }
        whenComplete { result in
            timer.cancel()
            promise.completeWith(result)
        }
        return try await promise.futureResult.get()
    }
}

extension Result where Failure == any Error {
    init(catching body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
