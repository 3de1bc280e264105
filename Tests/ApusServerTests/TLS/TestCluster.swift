import ApusChaos
import Foundation
import Logging

@testable import ApusServer

/// An authority of a cluster, and strangers who have certificates of another one.
struct TestCluster: Sendable {
    let ours: CertificateAuthority
    let theirs: CertificateAuthority

    static func with(_ body: (TestCluster) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-ca-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        func authority(_ name: String) async throws -> CertificateAuthority {
            let folder = directory.appending(path: name)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            return try await CertificateAuthority(directory: folder)
        }
        try await body(TestCluster(ours: try await authority("ours"), theirs: try await authority("theirs")))
    }

    /// A node's certificate.
    func node(_ name: String) async throws -> ClusterCertificate {
        try Self.certificate(try await ours.issue(name), trusting: ours)
    }

    /// Everything is of the other authority from now on: the certificates of these nodes, and what they believe.
    func change(_ names: [String]) async throws {
        var swaps = [(theirs.certificate, ours.certificate)]
        for name in names {
            let (old, new) = (try await ours.issue(name), try await theirs.issue(name))
            swaps += [(new.certificate, old.certificate), (new.key, old.key)]
        }
        for (new, old) in swaps { try Data(contentsOf: URL(filePath: new)).write(to: URL(filePath: old), options: .atomic) }
    }

    /// What `issued` is by now.
    func read(_ issued: CertificateAuthority.Issued) throws -> ClusterCertificate { try Self.certificate(issued, trusting: ours) }

    /// Somebody who believes us and whom we have no reason to believe.
    func stranger() async throws -> ClusterCertificate {
        try Self.certificate(try await theirs.issue("stranger"), trusting: ours)
    }

    private static func certificate(
        _ issued: CertificateAuthority.Issued, trusting authority: CertificateAuthority
    ) throws -> ClusterCertificate {
        try ClusterCertificate(
            files: TLSFiles(certificateChain: issued.certificate, privateKey: issued.key), authority: authority.certificate,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    }
}
