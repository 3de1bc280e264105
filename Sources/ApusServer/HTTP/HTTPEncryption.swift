import NIOCore
import NIOSSL

/// Whether an HTTP listener speaks TLS, and with whom.
public enum HTTPEncryption: Sendable {
    /// Plain HTTP: on loopback, behind something that ends TLS, or in a network where nobody else is.
    case none
    /// HTTPS with clients.
    case clients(TLSCertificate)
    /// HTTPS with the other nodes of the cluster and nobody else; questions after the node's health need no certificate.
    case nodes(ClusterCertificate)

    /// Whether clients reach this listener itself by TLS.
    var isForClients: Bool {
        if case .clients = self { true } else { false }
    }

    var makeHandler: (@Sendable () -> NIOSSLServerHandler)? {
        switch self {
        case .none: nil
        case .clients(let certificate): { certificate.makeHandler() }
        case .nodes(let certificate): { certificate.makeInvitingServerHandler() }
        }
    }

    /// For one connection, before all other handlers of HTTP.
    var guards: [any RemovableChannelHandler] {
        if case .nodes = self { [NodeGuard()] } else { [] }
    }

    /// Whose word about a client is taken.
    func trust(_ proxies: [AddressRange]) -> ProxyTrust {
        // The certificate shows that it is a node, and of the nodes only gateways pass requests on.
        if case .nodes = self { .everybody } else { .these(proxies) }
    }
}

/// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
enum ProxyTrust: Sendable {
    case everybody
    case these([AddressRange])

    func includes(_ address: IPAddress) -> Bool {
        switch self {
        case .everybody: true
        case .these(let ranges): ranges.contains { $0.contains(address) }
        }
    }
}
