import ApusCore
import ApusProtocol
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Runs the roles of this process until SIGTERM or SIGINT; returns once everything is drained.
func serve(_ configuration: ServerConfiguration) async throws {
    let threads = configuration.threads > 0 ? configuration.threads : System.coreCount
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: threads)
    do {
        let node = try await Node(configuration, loops: loops)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: node.services.map { ServiceGroupConfiguration.ServiceConfiguration(service: $0) },
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: Logger(label: "apus.lifecycle")))
        try await group.run()
    } catch {
        try? await loops.shutdownGracefully()
        throw error
    }
    try await loops.shutdownGracefully()
}
