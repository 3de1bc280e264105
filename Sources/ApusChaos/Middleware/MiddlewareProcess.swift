import Foundation
import NIOCore
import NIOPosix

/// A real server of somebody else's (MariaDB, Redis, ZooKeeper, …) on loopback, in a directory and on ports of its own: start, kill,
/// pause, start again on the same data. It never outlives ``with(_:_:)``, nor the process that started it.
public actor MiddlewareProcess {
    /// How to run one.
    public struct Plan: Sendable {
        /// For messages: `MariaDB`.
        public var name: String
        /// An absolute path, or a name that is searched in PATH and in the places of system programs.
        public var program: String
        public var arguments: [String]
        public var environment: [String: String]
        /// Whether it answers. Asked again and again until it does; a failure to connect is a no.
        public var isReady: @Sendable () async throws -> Bool
        public var timeout: Duration
        /// Paths outside of its directory at which it makes files and, when it is killed, leaves them. They are removed when it has ended.
        public var leftovers: [String] = []

        public init(
            name: String, program: String, arguments: [String], environment: [String: String] = [:], timeout: Duration = .seconds(60),
            isReady: @escaping @Sendable () async throws -> Bool
        ) {
            self.name = name
            self.program = program
            self.arguments = arguments
            self.environment = environment
            self.timeout = timeout
            self.isReady = isReady
        }
    }

    public nonisolated let plan: Plan
    public nonisolated let log = ProcessLog()
    private var child: ChildProcess?

    /// Starts it, hands it over, and kills it at the end.
    public static func with<Result: Sendable>(
        _ plan: Plan, isolation: isolated (any Actor)? = #isolation, _ body: (MiddlewareProcess) async throws -> Result
    ) async throws -> Result {
        let process = MiddlewareProcess(plan)
        do {
            try await process.start()
            let result = try await body(process)
            await process.kill()
            return result
        } catch {
            await process.kill()
            throw error
        }
    }

    /// Not running yet. Whoever makes one without ``with(_:_:)`` kills it in the end.
    public init(_ plan: Plan) { self.plan = plan }

    /// Returns when it answers.
    /// - Throws: ``ServerProcessError`` with the end of its log.
    public func start() async throws {
        guard child == nil else { throw failure("is running already") }
        let child = try ChildProcess(
            binary: try Command.locate(plan.program), arguments: plan.arguments,
            environment: ProcessInfo.processInfo.environment.merging(plan.environment) { _, new in new }, log: log)
        self.child = child
        let deadline = ContinuousClock.now + plan.timeout
        // There is no event for "it answers": it is asked.
        while true {
            if let isReady = try? await plan.isReady(), isReady { return }
            try Task.checkCancellation()
            guard !child.hasExited else { throw failure("ended while it started") }
            guard ContinuousClock.now < deadline else { throw failure("does not answer") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// `kill -9`; returns when it is gone.
    public func kill() async { await end(SIGKILL) }

    /// SIGTERM; returns when it is gone.
    public func terminate() async { await end(SIGTERM) }

    /// SIGSTOP, or SIGCONT.
    public func setPaused(_ paused: Bool) { child?.send(signal: paused ? SIGSTOP : SIGCONT) }

    public var processID: Int32? { child?.id }

    private func end(_ signal: Int32) async {
        guard let child else { return }
        child.send(signal: signal)
        _ = try? await child.exit.get()
        self.child = nil
        for path in plan.leftovers { try? FileManager.default.removeItem(atPath: path) }
    }

    private func failure(_ what: String) -> ServerProcessError {
        ServerProcessError("\(plan.name) \(what)\n\(child?.output.tail(lines: 20) ?? "")\n\(log.tail(lines: 40))")
    }

    /// A port of 127.0.0.1 that nobody listened on a moment ago.
    public static func freePort() async throws -> Int {
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup).bind(host: "127.0.0.1", port: 0).get()
        let port = listener.localAddress?.port
        try await listener.close()
        guard let port else { throw ServerProcessError("a listener without a port") }
        return port
    }

    /// Between two of ``lastingPorts(_:)``.
    static let portStep = 2

    /// Ports of 127.0.0.1 that are free, and so is the next one after each. None is of those that the system gives to outgoing connections, or
    /// one of them might have it by the time that a server that was killed comes back to it.
    public static func lastingPorts(_ count: Int) async throws -> [Int] {
        var ports: Set<Int> = []
        for _ in 0..<100 + count {
            if ports.count == count { break }
            let port = portStep * Int.random(in: 5_000..<16_000)
            if await isFree(port), await isFree(port + 1) { ports.insert(port) }
        }
        guard ports.count == count else { throw ServerProcessError("no \(count) free pairs of ports") }
        return Array(ports)
    }

    private static func isFree(_ port: Int) async -> Bool {
        let bootstrap = ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        guard let listener = try? await bootstrap.bind(host: "127.0.0.1", port: port).get() else { return false }
        try? await listener.close()
        return true
    }

    /// Whether somebody accepts connections there.
    public static func accepts(host: String = "127.0.0.1", port: Int) async -> Bool {
        guard
            let channel = try? await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connectTimeout(.seconds(1)).connect(host: host, port: port).get()
        else { return false }
        try? await channel.close()
        return true
    }
}
