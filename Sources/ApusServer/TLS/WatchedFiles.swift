import ApusProtocol
import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import ServiceLifecycle

/// What came of a look at the files of a certificate.
public enum CertificateChange: Sendable, Hashable {
    case unchanged
    case replaced
    /// The old one stays.
    case refused
}

/// What is made of some files, made anew when they change. Files that cannot be used (half written, or one not yet replaced) leave the old
/// value in place and a line in the log.
final class WatchedFiles<Value: Sendable>: Sendable {
    private struct State {
        /// As they were read last, usable or not. Compared as a whole: times of modification lie when files are swapped by links, as
        /// Kubernetes does.
        var seen: [Data]
        var value: Value
    }

    private let paths: [String]
    private let interval: Duration
    private let logger: Logger
    private let make: @Sendable ([Data]) throws -> Value
    private let state: NIOLockedValueBox<State>

    /// Reads the files; blocks on the disk.
    /// - Parameter make: gets the contents in the order of `paths`.
    /// - Throws: ``ApusError`` `invalid_argument` when a file cannot be read; what `make` throws.
    init(_ paths: [String], interval: Duration, logger: Logger, make: @escaping @Sendable ([Data]) throws -> Value) throws {
        self.paths = paths
        self.interval = interval
        self.logger = logger
        self.make = make
        let contents = try Self.read(paths)
        state = NIOLockedValueBox(State(seen: contents, value: try make(contents)))
    }

    var value: Value { state.withLockedValue { $0.value } }

    /// Looks at the files every so often, until graceful shutdown.
    func run() async {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: self.interval)
                    try await self.reload()
                } catch {
                    // Cancelled.
                    return
                }
            }
        }
    }

    /// Looks at the files now.
    /// - Throws: `CancellationError`.
    @discardableResult
    func reload() async throws -> CertificateChange {
        try await NIOThreadPool.singleton.runIfActive { self.reloadBlocking() }
    }

    private func reloadBlocking() -> CertificateChange {
        let file = paths.first ?? ""
        do {
            let contents = try Self.read(paths)
            guard state.withLockedValue({ $0.seen != contents }) else { return .unchanged }
            // Noted before it is tried: what cannot be used is reported once.
            state.withLockedValue { $0.seen = contents }
            let value = try make(contents)
            state.withLockedValue { $0.value = value }
            logger.info("the certificate was replaced", metadata: ["file": "\(file)"])
            return .replaced
        } catch {
            logger.error("the new certificate cannot be used, the old one stays", metadata: ["file": "\(file)", "error": "\(error)"])
            return .refused
        }
    }

    private static var bytesMax: Int { 1 << 20 }

    private static func read(_ paths: [String]) throws -> [Data] {
        try paths.map { path in
            do {
                let file = try FileHandle(forReadingFrom: URL(filePath: path))
                defer { try? file.close() }
                let data = try file.read(upToCount: bytesMax + 1) ?? Data()
                guard data.count <= bytesMax else { throw ApusError(.tooLarge, "more than \(bytesMax) bytes") }
                return data
            } catch {
                throw ApusError(.invalidArgument, "\(path) cannot be read", cause: error)
            }
        }
    }
}
