import ApusBackends
import ApusCore
import ApusProtocol
import Logging
import ServiceLifecycle

/// The relay through a broker, where the settings name one.
enum BrokerRelay {
    /// Nil: the settings name none.
    /// - Throws: ``StartError``.
    static func make(
        _ settings: ServerConfiguration.ClusterSettings, node: NodeID, receiver: (any RelayReceiver)?
    ) throws -> (any Relay & Service)? {
        guard settings.relay != ServerConfiguration.ClusterSettings.peerRelay else { return nil }
        #if Cluster
        var configuration: NATSRelay.Configuration
        do {
            configuration = try NATSRelay.Configuration(url: settings.relay)
        } catch let error as ApusError {
            throw StartError.configuration("cluster.relay: \(error.message)")
        }
        if settings.isEncrypted {
            configuration.identity = .init(
                certificate: settings.certificate, key: settings.key, authority: settings.authority)
        }
        return NATSRelay(configuration: configuration, node: node, receiver: receiver, logger: Logger(label: "apus.nats"))
        #else
        throw StartError.noCluster
        #endif
    }
}
