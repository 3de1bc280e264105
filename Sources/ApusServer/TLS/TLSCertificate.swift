import ApusProtocol
import Logging
import NIOSSL
import ServiceLifecycle

/// The certificate of the listeners that clients use, read anew when its files change: connections that are open keep the old one, new ones
/// get the new one. Files that cannot be used leave the old one in place and a line in the log.
public final class TLSCertificate: Service {
    private let files: WatchedFiles<NIOSSLContext>

    /// Reads the files; blocks on the disk.
    /// - Parameter interval: how often the files are looked at while ``run()`` runs.
    /// - Throws: ``ApusError`` `invalid_argument` when a file cannot be read, there is no certificate or no key in it, or one does not fit
    ///   the other.
    public init(files: TLSFiles, interval: Duration = .seconds(10), logger: Logger) throws {
        self.files = try WatchedFiles([files.certificateChain, files.privateKey], interval: interval, logger: logger) { contents in
            do {
                // Fails when the key is not that of the certificate.
                return try NIOSSLContext(
                    configuration: try TLSIdentity(certificateChain: contents[0], privateKey: contents[1]).serverConfiguration)
            } catch {
                throw ApusError(.invalidArgument, "\(files.certificateChain) or \(files.privateKey) cannot be used", cause: error)
            }
        }
    }

    /// Looks at the files every so often, until graceful shutdown.
    public func run() async throws { await files.run() }

    /// Looks at the files now.
    /// - Throws: `CancellationError`.
    @discardableResult
    public func reload() async throws -> CertificateChange { try await files.reload() }

    /// The first handler of a new connection.
    func makeHandler() -> NIOSSLServerHandler { NIOSSLServerHandler(context: files.value) }
}
