import Foundation

/// A certificate authority of one's own, made with openssl: for tests, and for clusters on one machine. Not for anything that lasts: its
/// certificates are good for some days, and its key lies in a file.
public struct CertificateAuthority: Sendable {
    /// A certificate of this authority, in PEM files.
    public struct Issued: Sendable, Hashable {
        public var certificate: String
        public var key: String
    }

    private let directory: URL
    private let openssl: URL

    /// What others trust: a PEM file.
    public var certificate: String { path("ca.crt") }

    /// Makes the authority, in a directory that exists.
    /// - Throws: ``ServerProcessError``.
    public init(directory: URL) async throws {
        self.directory = directory
        openssl = try Command.locate("openssl")
        do {
            try Data(Self.extensions.utf8).write(to: URL(filePath: path("openssl.cnf")))
        } catch {
            throw ServerProcessError("\(path("openssl.cnf")) cannot be written: \(error)")
        }
        try await make("ca", extensions: "authority", [])
    }

    /// A certificate for this machine, of a server as well as of a client. The same name again: a new certificate and key take the place of
    /// the old ones.
    /// - Throws: ``ServerProcessError``.
    @discardableResult
    public func issue(_ name: String) async throws -> Issued {
        try await make(name, extensions: "machine", ["-CA", path("ca.crt"), "-CAkey", path("ca.key")])
        return Issued(certificate: path("\(name).crt"), key: path("\(name).key"))
    }

    private func make(_ name: String, extensions: String, _ arguments: [String]) async throws {
        let result = try await Command.run(
            openssl,
            [
                "req", "-x509", "-config", path("openssl.cnf"), "-extensions", extensions, "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3", "-subj", "/CN=\(name)", "-keyout", path("new.key"), "-out",
                path("new.crt"),
            ] + arguments, timeout: .seconds(20))
        guard result.exit == .code(0) else { throw ServerProcessError("openssl made no certificate: \(result.errors)") }
        // In one step each: whoever reads at the same time sees the old file or the new one.
        for end in ["key", "crt"] where rename(path("new.\(end)"), path("\(name).\(end)")) != 0 {
            throw ServerProcessError("\(path("\(name).\(end)")) cannot be replaced")
        }
    }

    private func path(_ name: String) -> String { directory.appending(path: name).path }

    private static let extensions = """
        [req]
        distinguished_name = name
        [name]
        [authority]
        basicConstraints = critical, CA:TRUE
        keyUsage = critical, keyCertSign
        [machine]
        basicConstraints = critical, CA:FALSE
        subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
        extendedKeyUsage = serverAuth, clientAuth

        """
}
