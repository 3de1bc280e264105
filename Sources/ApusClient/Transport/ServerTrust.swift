import ApusProtocol
import NIOSSL

/// How the server's certificate is checked.
struct ServerTrust: Sendable {
    /// For WebSocket and TCP.
    let configuration: TLSConfiguration
    /// For HTTP; nil: as the HTTP client does by itself.
    let httpConfiguration: TLSConfiguration?

    /// Reads the file, if there is one.
    /// - Throws: ``ApusError`` `invalid_argument`.
    init(_ roots: ClientConfiguration.TrustRoots) throws {
        var configuration = TLSConfiguration.makeClientConfiguration()
        switch roots {
        case .system:
            httpConfiguration = nil
        case .file(let url):
            do {
                let certificates = try NIOSSLCertificate.fromPEMFile(url.path)
                guard !certificates.isEmpty else { throw ApusError(.invalidArgument, "there is none in it") }
                configuration.trustRoots = .certificates(certificates)
            } catch {
                throw ApusError(.invalidArgument, "\(url.path) holds no certificates that can be used", cause: error)
            }
            httpConfiguration = configuration
        }
        self.configuration = configuration
    }

    /// What to tell of a connection that failed.
    static func describe(_ error: any Error, _ otherwise: String) -> String {
        switch error {
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            "no encrypted connection to the server: its certificate is not trusted, is not of this name, or it speaks no TLS"
        default: otherwise
        }
    }
}
