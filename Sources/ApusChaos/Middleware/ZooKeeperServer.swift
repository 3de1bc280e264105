import Foundation
import NIOCore
import NIOPosix

/// ZooKeeper servers: one, or an ensemble of three that outlives the loss of any one.
public enum ZooKeeperServer {
    /// The length of a tick; a session can have a timeout of 2 to 20.
    public static let tickMilliseconds = 500

    /// One server with its data in `directory`, which exists, on this port of 127.0.0.1.
    /// - Parameter isOpen: it listens on every address of this machine, or of this process's network namespace.
    public static func plan(directory: URL, port: Int, isOpen: Bool = false) throws -> MiddlewareProcess.Plan {
        try plan(name: "ZooKeeper", directory: directory, port: port, ensemble: [], isOpen: isOpen)
    }

    /// Starts one on a directory of its own; both are gone afterwards.
    public static func with<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (MiddlewareProcess, _ port: Int) async throws -> Result
    ) async throws -> Result {
        try await withDirectory { directory in
            let port = try await MiddlewareProcess.freePort()
            return try await MiddlewareProcess.with(try plan(directory: directory, port: port)) { try await body($0, port) }
        }
    }

    /// Starts an ensemble of three on a directory of its own; all is gone afterwards.
    public static func withEnsemble<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: ([MiddlewareProcess], _ ports: [Int]) async throws -> Result
    ) async throws -> Result {
        try await withDirectory { directory in
            var ports: [Int] = []
            for _ in 0..<9 { ports.append(try await MiddlewareProcess.freePort()) }
            // Each has a port for clients, one for its leader and one for elections.
            let ensemble = (0..<3).map { "server.\($0 + 1)=127.0.0.1:\(ports[3 + $0]):\(ports[6 + $0])" }
            let processes = try (0..<3).map { number in
                let own = directory.appending(path: "\(number + 1)")
                try FileManager.default.createDirectory(at: own.appending(path: "data"), withIntermediateDirectories: true)
                try Data("\(number + 1)\n".utf8).write(to: own.appending(path: "data/myid"))
                return MiddlewareProcess(
                    try plan(name: "ZooKeeper \(number + 1)", directory: own, port: ports[number], ensemble: ensemble))
            }
            do {
                // None is ready before two of them have found each other.
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for process in processes { group.addTask { try await process.start() } }
                    try await group.waitForAll()
                }
                let result = try await body(processes, Array(ports[..<3]))
                for process in processes { await process.kill() }
                return result
            } catch {
                for process in processes { await process.kill() }
                throw error
            }
        }
    }

    private static func plan(name: String, directory: URL, port: Int, ensemble: [String], isOpen: Bool = false) throws
        -> MiddlewareProcess.Plan
    {
        let file = directory.appending(path: "zoo.cfg")
        let lines =
            [
                "tickTime=\(tickMilliseconds)", "initLimit=20", "syncLimit=10", "dataDir=\(directory.path)/data", "clientPort=\(port)",
                "clientPortAddress=\(isOpen ? "0.0.0.0" : "127.0.0.1")", "admin.enableServer=false",
                "4lw.commands.whitelist=ruok,srvr,mntr",
            ] + ensemble
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
        return MiddlewareProcess.Plan(
            name: name, program: "java",
            arguments: [
                "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "/usr/share/java/zookeeper.jar",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", file.path,
            ]
        ) {
            // `ruok` is answered before the server serves anybody.
            try await fourLetterWord("srvr", port: port).contains("Mode:")
        }
    }

    /// What the server answers to one of its commands, within a second.
    public static func fourLetterWord(_ word: String, port: Int) async throws -> String {
        let answer = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: String.self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(1))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AnswerCollector(answer)) }
                }
                .connect(host: "127.0.0.1", port: port).get()
        } catch {
            answer.fail(error)
            throw error
        }
        let deadline = channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        defer { deadline.cancel() }
        channel.writeAndFlush(ByteBuffer(string: word), promise: nil)
        return try await answer.futureResult.get()
    }

    private static func withDirectory<Result>(
        isolation: isolated (any Actor)? = #isolation, _ body: (URL) async throws -> Result
    ) async throws -> Result {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-zookeeper-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        return try await body(directory)
    }
}

/// Collects what comes until the other side closes; no more than some kilobytes come.
private final class AnswerCollector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let answer: EventLoopPromise<String>
    private var text = ""

    init(_ answer: EventLoopPromise<String>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard text.utf8.count < 65_536 else { return context.close(promise: nil) }
        text += String(buffer: unwrapInboundIn(data))
    }

    func channelInactive(context: ChannelHandlerContext) { answer.succeed(text) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        answer.fail(error)
        context.close(promise: nil)
    }
}
