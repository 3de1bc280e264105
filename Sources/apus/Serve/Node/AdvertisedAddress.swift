import ApusCore
import ApusProtocol
import ApusServer
import NIOCore
import NIOPosix

/// Under which address other nodes find a listener of this process: the one that its setting names, or the one on which it listens. A
/// listener on all addresses of the machine is found under the one from which this node reaches the registry.
struct AdvertisedAddress {
    /// Any of them will do.
    let registry: [NetworkAddress]
    let group: any EventLoopGroup

    /// - Throws: ``ApusError`` `unavailable` when no address leads to the registry.
    func of(_ listener: BoundAddress?, setting: String = "") async throws -> NetworkAddress? {
        guard let listener else { return nil }
        if let address = NetworkAddress(setting) { return address }
        var address = try await listener.value
        if address.isUnspecified { address.host = try await host() }
        return address
    }

    private func host() async throws -> String {
        var cause: (any Error)?
        for server in registry {
            do {
                // Nothing is sent: the system chooses the address from which it would be.
                let channel = try await DatagramBootstrap(group: group).connect(host: server.host, port: server.port).get()
                let host = channel.localAddress?.ipAddress
                try await channel.close()
                if let host { return host }
            } catch {
                cause = error
            }
        }
        throw ApusError(
            .unavailable,
            "no address of this machine leads to the registry, so others cannot be told one: listen on one, or give http.advertise and peer.advertise",
            cause: cause)
    }
}
