import ApusProtocol
import Logging
import NIOSSL
import ServiceLifecycle

/// By what the nodes of a cluster know each other on the wire: each has a certificate of one authority, and shows it to the others whether it
/// calls or is called. Nodes find each other by address, so no name in a certificate is compared: whoever has one of this authority is a node.
/// Read anew when its files change, as ``TLSCertificate``.
public final class ClusterCertificate: Service {
    private struct Contexts: Sendable {
        var mutual: NIOSSLContext
        var inviting: NIOSSLContext
        var client: NIOSSLContext
        /// That of `client`.
        var clientConfiguration: TLSConfiguration
    }

    private let files: WatchedFiles<Contexts>

    /// Reads the files; blocks on the disk.
    /// - Parameters:
    ///   - authority: PEM: the certificates of the authority, and nobody else's.
    ///   - interval: how often the files are looked at while ``run()`` runs.
    /// - Throws: ``ApusError`` `invalid_argument` when they cannot be used.
    public init(files: TLSFiles, authority: String, interval: Duration = .seconds(10), logger: Logger) throws {
        let paths = [files.certificateChain, files.privateKey, authority]
        self.files = try WatchedFiles(paths, interval: interval, logger: logger) { contents in
            do {
                return try Self.contexts(
                    TLSIdentity(certificateChain: contents[0], privateKey: contents[1]), authority: TLSIdentity.certificates(contents[2]))
            } catch {
                throw ApusError(.invalidArgument, "one of \(paths.joined(separator: ", ")) cannot be used", cause: error)
            }
        }
    }

    private static func contexts(_ identity: TLSIdentity, authority: [NIOSSLCertificate]) throws -> Contexts {
        var server = identity.serverConfiguration
        // Both ends are nodes of ours.
        server.minimumTLSVersion = .tlsv13
        server.trustRoots = .certificates(authority)
        server.certificateVerification = .noHostnameVerification
        var inviting = server
        inviting.certificateVerification = .optionalVerification
        var client = TLSConfiguration.makeClientConfiguration()
        client.minimumTLSVersion = .tlsv13
        client.trustRoots = .certificates(authority)
        client.certificateVerification = .noHostnameVerification
        client.certificateChain = identity.chain
        client.privateKey = identity.key
        return Contexts(
            mutual: try NIOSSLContext(configuration: server), inviting: try NIOSSLContext(configuration: inviting),
            client: try NIOSSLContext(configuration: client), clientConfiguration: client)
    }

    /// Looks at the files every so often, until graceful shutdown.
    public func run() async throws { await files.run() }

    /// Looks at the files now.
    /// - Throws: `CancellationError`.
    @discardableResult
    public func reload() async throws -> CertificateChange { try await files.reload() }

    /// How this node calls others over HTTP, as the files are now.
    public var clientConfiguration: TLSConfiguration { files.value.clientConfiguration }

    /// The first handler of a connection from another node; one without a certificate is refused.
    func makeServerHandler() -> NIOSSLServerHandler { NIOSSLServerHandler(context: files.value.mutual) }

    /// The first handler of a connection from another node, or from somebody without a certificate, who is to be told from one.
    func makeInvitingServerHandler() -> NIOSSLServerHandler { NIOSSLServerHandler(context: files.value.inviting) }

    /// The first handler of a connection to another node.
    func makeClientHandler() throws -> NIOSSLClientHandler { try NIOSSLClientHandler(context: files.value.client, serverHostname: nil) }
}
