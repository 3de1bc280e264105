import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// How a process ended.
public enum ProcessExit: Hashable, Sendable, CustomStringConvertible {
    case code(Int32)
    case signal(Int32)

    public var description: String {
        switch self {
        case .code(let code): "exit code \(code)"
        case .signal(let signal): "signal \(signal)"
        }
    }
}

/// One life of one child process: its first line of standard output and its end as futures, its outputs in bounded logs.
///
/// It does not outlive this process: a watchdog kills it when this process ends in whatever way.
final class ChildProcess: Sendable {
    let firstLine: EventLoopFuture<String>
    /// Both outputs are read to their end.
    let drained: EventLoopFuture<Void>
    let output = ProcessLog()
    private let process: SpawnedProcess

    /// - Throws: as ``SpawnedProcess``.
    init(binary: URL, arguments: [String], environment: [String: String], log: ProcessLog) throws {
        let process = try SpawnedProcess(binary: binary, arguments: arguments, environment: environment)
        self.process = process
        // It has nothing to read.
        try process.input.close()
        let loop = process.exit.eventLoop
        let firstLine = loop.makePromise(of: String.self)
        self.firstLine = firstLine.futureResult
        let lines = LineSplitter { firstLine.succeed($0) }
        let output = self.output
        // Each pipe is read on its own, so that neither can fill up while the other one is waited for.
        let outputEnd = Self.read(process.output, on: loop) { bytes in
            output.add(bytes)
            lines.add(bytes)
        }
        let errorEnd = Self.read(process.errors, on: loop) { log.add($0) }
        drained = outputEnd.and(errorEnd).map { _ in }
        outputEnd.whenComplete { _ in firstLine.fail(ServerProcessError("standard output ended before the first line")) }
        try watch()
    }

    var id: Int32 { process.id }
    var exit: EventLoopFuture<ProcessExit> { process.exit }
    var hasExited: Bool { process.hasExited }

    /// Does nothing when it has ended.
    func send(signal: Int32) { process.send(signal: signal) }

    /// By NIO: a readability handler of Foundation's crashes on Linux when many pipes come and go.
    private static func read(
        _ descriptor: Int32, on loop: any EventLoop, _ take: @escaping @Sendable (Data) -> Void
    ) -> EventLoopFuture<Void> {
        let end = loop.makePromise(of: Void.self)
        NIOPipeBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(PipeReader(take)) }
            }
            .takingOwnershipOfDescriptor(input: descriptor)
            .flatMap(\.closeFuture)
            .cascade(to: end)
        return end.futureResult
    }

    private func watch() throws {
        let watchdog: SpawnedProcess
        do {
            // A line says that the child has ended; the end of the pipe without one says that this process has.
            watchdog = try SpawnedProcess(
                binary: URL(filePath: "/bin/sh"), arguments: ["-c", "read -r done || kill -9 \(id)"], environment: [:])
        } catch {
            send(signal: SIGKILL)
            throw error
        }
        // What it might say is of no interest.
        for handle in [watchdog.takeOutput(), watchdog.takeErrors()] { try handle.close() }
        exit.whenComplete { _ in
            // Fails only when the watchdog is gone, and then there is nothing to tell it.
            try? watchdog.input.write(contentsOf: Data("done\n".utf8))
            try? watchdog.input.close()
        }
    }
}

/// What a process wrote, for the message of a failed test; keeps the end of what is too long.
public final class ProcessLog: Sendable {
    private static let bytesMax = 256 << 10
    private let bytes = NIOLockedValueBox(Data())

    init() {}

    func add(_ more: Data) {
        bytes.withLockedValue { bytes in
            bytes.append(more)
            if bytes.count > 2 * Self.bytesMax { bytes = Data(bytes.suffix(Self.bytesMax)) }
        }
    }

    public var text: String { String(decoding: bytes.withLockedValue { $0.suffix(Self.bytesMax) }, as: UTF8.self) }

    /// The last lines.
    public func tail(lines: Int) -> String { text.split(separator: "\n").suffix(lines).joined(separator: "\n") }
}

private final class PipeReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let take: @Sendable (Data) -> Void

    init(_ take: @escaping @Sendable (Data) -> Void) { self.take = take }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        take(Data(unwrapInboundIn(data).readableBytesView))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Hands on whole lines.
private final class LineSplitter: Sendable {
    private let rest = NIOLockedValueBox(Data())
    private let onLine: @Sendable (String) -> Void

    init(onLine: @escaping @Sendable (String) -> Void) { self.onLine = onLine }

    func add(_ bytes: Data) {
        let lines = rest.withLockedValue { rest -> [Data] in
            rest.append(bytes)
            var lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { Data($0) }
            rest = lines.removeLast()
            return lines
        }
        for line in lines { onLine(String(decoding: line, as: UTF8.self)) }
    }
}
