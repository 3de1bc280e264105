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
        // The one that takes signals, from here on: none is lost between waiting and working.
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: NodeProcess(configuration, loops: loops), successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: Logger(label: "apus.lifecycle")))
        try await group.run()
    } catch {
        try? await loops.shutdownGracefully()
        throw error
    }
    try await loops.shutdownGracefully()
}
