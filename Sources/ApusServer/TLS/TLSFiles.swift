import ApusProtocol
import Foundation
import NIOSSL

/// Where the certificate of a listener is.
public struct TLSFiles: Sendable, Hashable {
    /// PEM: the listener's certificate first, then those that vouch for it.
    public var certificateChain: String
    /// PEM, without a password.
    public var privateKey: String

    public init(certificateChain: String, privateKey: String) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
    }

    /// What the files hold. Compared as a whole: times of modification lie when files are swapped by links, as Kubernetes does.
    struct Contents: Sendable, Hashable {
        var certificateChain: Data
        var privateKey: Data
    }

    private static let bytesMax = 1 << 20

    /// Blocks on the disk.
    /// - Throws: ``ApusError`` `invalid_argument`.
    func read() throws -> Contents {
        Contents(certificateChain: try Self.read(certificateChain), privateKey: try Self.read(privateKey))
    }

    private static func read(_ path: String) throws -> Data {
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

extension TLSFiles.Contents {
    /// For a server: TLS 1.2 or newer, HTTP/1.1 where the client asks what is spoken.
    /// - Throws: ``ApusError`` `invalid_argument` when there is no certificate or no key in the files, or one does not fit the other.
    func context() throws -> NIOSSLContext {
        do {
            let chain = try NIOSSLCertificate.fromPEMBytes(Array(certificateChain))
            guard !chain.isEmpty else { throw ApusError(.invalidArgument, "there is no certificate in the file") }
            let key = try NIOSSLPrivateKey(bytes: Array(privateKey), format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            // Fails when the key is not that of the certificate.
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw ApusError(.invalidArgument, "the certificate or its key cannot be used", cause: error)
        }
    }
}
