import ApusProtocol
import ApusServer
import Logging
import ServiceLifecycle

/// The certificates of this process.
struct NodeTLS {
    /// Of the listeners that clients use; nil: they speak plain.
    var clients: TLSCertificate?
    /// Between nodes; nil: they speak plain.
    var nodes: ClusterCertificate?

    /// Reads the files.
    /// - Throws: ``StartError`` when they cannot be used.
    init(_ configuration: ServerConfiguration) throws {
        let logger = Logger(label: "apus.tls")
        let (tls, cluster) = (configuration.tls, configuration.cluster)
        if tls.isOn {
            clients = try Self.checked("tls.certificate, tls.key") {
                try TLSCertificate(files: TLSFiles(certificateChain: tls.certificate, privateKey: tls.key), logger: logger)
            }
        }
        if cluster.isEncrypted {
            nodes = try Self.checked("cluster.certificate, cluster.key, cluster.authority") {
                try ClusterCertificate(
                    files: TLSFiles(certificateChain: cluster.certificate, privateKey: cluster.key), authority: cluster.authority,
                    logger: logger)
            }
        }
    }

    private static func checked<Value>(_ settings: String, _ make: () throws -> Value) throws -> Value {
        do {
            return try make()
        } catch let error as ApusError {
            throw StartError.configuration("\(settings): \(error)")
        }
    }

    var services: [any Service] {
        [clients.map { $0 as any Service }, nodes].compactMap { $0 }
    }

    /// Of the listener of the HTTP roles: clients come to that of a single node, and through a gateway to those of a cluster.
    func http(isCluster: Bool) -> HTTPEncryption {
        isCluster ? nodes.map { .nodes($0) } ?? .none : clients.map { .clients($0) } ?? .none
    }
}
