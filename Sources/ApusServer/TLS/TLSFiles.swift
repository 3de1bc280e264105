import ApusProtocol
import Foundation
import NIOSSL

/// Where a certificate and its key are.
public struct TLSFiles: Sendable, Hashable {
    /// PEM: the certificate first, then those that vouch for it.
    public var certificateChain: String
    /// PEM, without a password.
    public var privateKey: String

    public init(certificateChain: String, privateKey: String) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
    }
}

/// What the files hold.
struct TLSIdentity: Sendable {
    var chain: [NIOSSLCertificateSource]
    var key: NIOSSLPrivateKeySource

    /// - Throws: ``ApusError`` `invalid_argument`; what NIOSSL says about the contents.
    init(certificateChain: Data, privateKey: Data) throws {
        chain = try Self.certificates(certificateChain).map { .certificate($0) }
        key = .privateKey(try NIOSSLPrivateKey(bytes: Array(privateKey), format: .pem))
    }

    static func certificates(_ pem: Data) throws -> [NIOSSLCertificate] {
        let certificates = try NIOSSLCertificate.fromPEMBytes(Array(pem))
        guard !certificates.isEmpty else { throw ApusError(.invalidArgument, "there is no certificate in the file") }
        return certificates
    }

    /// Of a listener: HTTP/1.1 where the client asks what is spoken.
    var serverConfiguration: TLSConfiguration {
        var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: key)
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return configuration
    }
}
