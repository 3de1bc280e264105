import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import ServiceLifecycle

/// The certificate of the listeners, read anew when its files change: connections that are open keep the old one, new ones get the new one.
/// Files that cannot be used (half written, or the key not yet replaced) leave the old one in place and a line in the log.
public final class TLSCertificate: Service {
    private struct State {
        /// As they were read last, usable or not.
        var seen: TLSFiles.Contents
        var context: NIOSSLContext
    }

    public enum Change: Sendable, Hashable {
        case unchanged
        case replaced
        /// The old one stays.
        case refused
    }

    private let files: TLSFiles
    private let interval: Duration
    private let logger: Logger
    private let state: NIOLockedValueBox<State>

    /// Reads the files; blocks on the disk.
    /// - Parameter interval: how often the files are looked at while ``run()`` runs.
    /// - Throws: ``ApusError`` `invalid_argument` when they cannot be used.
    public init(files: TLSFiles, interval: Duration = .seconds(10), logger: Logger) throws {
        self.files = files
        self.interval = interval
        self.logger = logger
        let contents = try files.read()
        state = NIOLockedValueBox(State(seen: contents, context: try contents.context()))
    }

    /// Looks at the files every so often, until graceful shutdown.
    public func run() async throws {
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
    public func reload() async throws -> Change {
        try await NIOThreadPool.singleton.runIfActive { self.reloadBlocking() }
    }

    private func reloadBlocking() -> Change {
        do {
            let contents = try files.read()
            guard state.withLockedValue({ $0.seen != contents }) else { return .unchanged }
            // Noted before it is tried: what cannot be used is reported once.
            state.withLockedValue { $0.seen = contents }
            let context = try contents.context()
            state.withLockedValue { $0.context = context }
            logger.info("the certificate was replaced", metadata: ["file": "\(files.certificateChain)"])
            return .replaced
        } catch {
            logger.error(
                "the new certificate cannot be used, the old one stays",
                metadata: ["file": "\(files.certificateChain)", "error": "\(error)"])
            return .refused
        }
    }

    /// The first handler of a new connection.
    func makeHandler() -> NIOSSLServerHandler { NIOSSLServerHandler(context: state.withLockedValue { $0.context }) }
}
