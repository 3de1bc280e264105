import CSpawn
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// A process that this one started, with pipes to its standard input and from its outputs.
///
/// Not by Foundation's `Process`: on Linux its children inherit what another thread opens while they start. Among that is the descriptor
/// by whose closing Foundation notices the end of a process; inherited by one that lives on, it keeps the end of the other a secret.
public final class SpawnedProcess: Sendable {
    public let id: Int32
    public let exit: EventLoopFuture<ProcessExit>
    /// Our ends of the pipes, for one owner each, who closes them.
    public let input: FileHandle
    let output: Int32
    let errors: Int32
    private let hasEnded: NIOLockedValueBox<Bool>

    /// In a process group of its own: Ctrl-C on the terminal reaches this process, which then ends the others in their order.
    /// - Throws: `IOError` when there are no descriptors, or the program cannot be started.
    public init(binary: URL, arguments: [String], environment: [String: String]) throws {
        var pipes: [(read: Int32, write: Int32)] = []
        do {
            for _ in 0..<3 { pipes.append(try Self.makePipe()) }
            id = try Self.spawn(
                [binary.path] + arguments, environment.map { "\($0.key)=\($0.value)" }, pipes[0].read, pipes[1].write, pipes[2].write)
        } catch {
            for pipe in pipes { Self.close(pipe.read, pipe.write) }
            throw error
        }
        Self.close(pipes[0].read, pipes[1].write, pipes[2].write)
        input = FileHandle(fileDescriptor: pipes[0].write, closeOnDealloc: true)
        (output, errors) = (pipes[1].read, pipes[2].read)
        let promise = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: ProcessExit.self)
        exit = promise.futureResult
        let hasEnded = NIOLockedValueBox(false)
        self.hasEnded = hasEnded
        Thread.detachNewThread { [id] in promise.succeed(Self.wait(for: id, hasEnded)) }
    }

    public var hasExited: Bool { hasEnded.withLockedValue { $0 } }

    /// Does nothing when it has ended.
    public func send(signal: Int32) {
        // Its number is not given to another process before it is reaped, and that is done under the same lock.
        hasEnded.withLockedValue { hasEnded in
            if !hasEnded { _ = Foundation.kill(id, signal) }
        }
    }

    /// Standard output, to be closed by whoever takes it; once.
    public func takeOutput() -> FileHandle { FileHandle(fileDescriptor: output, closeOnDealloc: true) }

    /// Standard error, likewise.
    public func takeErrors() -> FileHandle { FileHandle(fileDescriptor: errors, closeOnDealloc: true) }

    // MARK: The system's calls

    private static func makePipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        let failure = apus_pipe(&ends)
        guard failure == 0 else { throw IOError(errnoCode: failure, reason: "pipe") }
        return (ends[0], ends[1])
    }

    private static func spawn(
        _ arguments: [String], _ environment: [String], _ input: Int32, _ output: Int32, _ errors: Int32
    ) throws -> Int32 {
        // C wants arrays of pointers with nil at the end; they live for the call.
        var argumentPointers = arguments.map { strdup($0) } + [nil]
        var environmentPointers = environment.map { strdup($0) } + [nil]
        defer { for pointer in argumentPointers + environmentPointers { free(pointer) } }
        var id: Int32 = 0
        let failure = apus_spawn(&id, arguments[0], &argumentPointers, &environmentPointers, input, output, errors)
        guard failure == 0 else { throw IOError(errnoCode: failure, reason: "cannot start \(arguments[0])") }
        return id
    }

    private static func close(_ descriptors: Int32...) {
        for descriptor in descriptors { _ = Foundation.close(descriptor) }
    }

    /// Blocks until it has ended, and reaps it.
    private static func wait(for id: Int32, _ hasEnded: NIOLockedValueBox<Bool>) -> ProcessExit {
        var info = siginfo_t()
        while waitid(P_PID, id_t(id), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        var status: Int32 = 0
        hasEnded.withLockedValue { hasEnded in
            while waitpid(id, &status, 0) < 0, errno == EINTR {}
            hasEnded = true
        }
        // The low seven bits are the signal, the next byte is the code.
        let signal = status & 0x7F
        return signal == 0 ? .code((status >> 8) & 0xFF) : .signal(signal)
    }
}
