import ApusCore
import ApusProtocol
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// A listener for HTTP/1.1 that any number of roles share. Stops accepting on graceful shutdown and finishes the requests
/// that are under way.
public struct HTTPService: Service {
    /// Where it listens, once it does.
    public let address = BoundAddress()

    private let configuration: HTTPConfiguration
    private let responder: CallbackResponder<APIContext>
    private let certificate: TLSCertificate?
    private let logger: Logger

    /// - Parameter certificate: nil: no TLS.
    public init(
        configuration: HTTPConfiguration, roles: [any HTTPRole], verifier: any TokenVerifier, readiness: Readiness,
        certificate: TLSCertificate? = nil, logger: Logger
    ) {
        self.configuration = configuration
        self.certificate = certificate
        self.logger = logger
        let routes = HTTPRoutes(verifier: verifier)
        HealthRole(readiness: readiness).addRoutes(to: routes)
        for role in roles { role.addRoutes(to: routes) }
        routes.complete()

        // From the outside in; what they wrap is the router with its deadline.
        let middlewares = Router(context: APIContext.self).middlewares
        middlewares.add(RequestPreparation(bodyBytesMax: configuration.bodyBytesMax))
        middlewares.add(AccessLog())
        middlewares.add(CrossOrigin(origins: configuration.corsOrigins))
        middlewares.add(ProblemMiddleware())
        let chain = middlewares.constructResponder(
            finalResponder: DeadlineResponder(timeout: configuration.requestTimeout, next: routes.router.buildResponder()))
        responder = CallbackResponder { try await chain.respond(to: $0, context: $1) }
    }

    public func run() async throws {
        let limits = HTTP1Channel.Configuration(
            additionalChannelHandlers: [BodyGuard(bytesMax: configuration.bodyBytesMax * 2)],
            idleTimeout: TimeAmount(configuration.idleTimeout),
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: configuration.headerBytesMax, maxHeaderListSize: configuration.headerBytesMax,
                maxHeaderFieldCount: configuration.headerFieldsMax))
        let address = address
        let application = Application(
            responder: responder,
            server: server(limits),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                availableConnectionsDelegate: MaximumAvailableConnections(configuration.connectionsMax)),
            onServerRunning: { channel in
                if let bound = channel.localAddress, let host = bound.ipAddress, let port = bound.port {
                    address.resolve(.success(NetworkAddress(host: host, port: port)))
                }
            },
            logger: logger)
        do {
            try await application.run()
        } catch {
            let failure = ApusError(
                .internal, "cannot listen for HTTP on \(configuration.host):\(configuration.port)", cause: error)
            // What ends a listener that was bound is another matter.
            throw address.resolve(.failure(failure)) ? failure : error
        }
        address.resolve(.failure(ApusError(.shuttingDown, "the server stopped before it listened")))
    }

    private func server(_ limits: HTTP1Channel.Configuration) -> HTTPServerBuilder {
        guard let certificate else { return .http1(configuration: limits) }
        return HTTPServerBuilder { responder in
            TLSChildChannel(base: HTTP1Channel(responder: responder, configuration: limits), certificate: certificate)
        }
    }
}

/// `/healthz`: the process is alive. `/readyz`: it wants traffic.
struct HealthRole: HTTPRole {
    private struct Report: Encodable {
        var status: String
    }

    let readiness: Readiness

    func addRoutes(to routes: HTTPRoutes) {
        routes.on(.get, HTTPPath.health, for: .anybody) { _, _ in try Response.json(Report(status: "alive")) }
        routes.on(.get, HTTPPath.readiness, for: .anybody) { _, _ in
            let state = readiness.state
            return try Response.json(Report(status: state.rawValue), status: state == .ready ? .ok : .serviceUnavailable)
        }
    }
}
