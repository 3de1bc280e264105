import ApusChaos
import ApusServer
import Foundation
import NIOSSL
import Testing

/// A directory with the certificate and the key of a server, signed by itself, made with openssl.
struct TestCertificate: Sendable {
    let directory: URL

    var files: TLSFiles { TLSFiles(certificateChain: path("server.crt"), privateKey: path("server.key")) }

    static func with(_ body: (TestCertificate) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let certificate = TestCertificate(directory: directory)
        try await certificate.renew()
        try await body(certificate)
    }

    /// A new key and a new certificate take the place of the old ones.
    func renew() async throws {
        let result = try await Command.run(
            try Command.locate("openssl"),
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", path("new.key"), "-out", path("new.crt"),
            ], timeout: .seconds(20))
        try #require(result.exit == .code(0), "\(result.errors)")
        for end in ["key", "crt"] { try #require(rename(path("new.\(end)"), path("server.\(end)")) == 0) }
    }

    /// What a client trusts that knows the certificate as it is now, and no other.
    func trust() throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(files.certificateChain))
        return configuration
    }

    func path(_ name: String) -> String { directory.appending(path: name).path }
}
