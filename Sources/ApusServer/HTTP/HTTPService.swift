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

    /// ``HTTPConfiguration/corsOrigins``, from the next request on.
    public let corsOrigins: LiveSetting<[String]>

    private let configuration: HTTPConfiguration
    private let responder: CallbackResponder<APIContext>
    private let encryption: HTTPEncryption
    private let logger: Logger

    /// - Parameter deviceCheck: asked about the device of every access token; nil: a token is good until it expires.
    public init(
        configuration: HTTPConfiguration, roles: [any HTTPRole], verifier: any TokenVerifier, deviceCheck: DeviceCheck? = nil,
        readiness: Readiness, encryption: HTTPEncryption = .none, logger: Logger
    ) {
        let routes = HTTPRoutes(verifier: verifier, deviceCheck: deviceCheck)
        HealthRole(readiness: readiness).addRoutes(to: routes)
        for role in roles { role.addRoutes(to: routes) }
        routes.complete()
        self.init(
            configuration: configuration,
            responder: DeadlineResponder(timeout: configuration.requestTimeout, next: routes.router.buildResponder()),
            readiness: readiness, encryption: encryption, logger: logger)
    }

    /// - Parameter responder: answers what is left of a request after the parts that all listeners share: its id and its client's
    ///   address, the log line, cross-origin rules, problem documents.
    init(
        configuration: HTTPConfiguration, responder: some HTTPResponder<APIContext>, readiness: Readiness,
        encryption: HTTPEncryption = .none, logger: Logger
    ) {
        self.configuration = configuration
        corsOrigins = LiveSetting(configuration.corsOrigins)
        self.encryption = encryption
        self.logger = logger
        // From the outside in.
        let middlewares = Router(context: APIContext.self).middlewares
        middlewares.add(
            RequestPreparation(
                bodyBytesMax: configuration.bodyBytesMax, trust: encryption.trust(configuration.trustedProxies),
                isEncrypted: encryption.isForClients))
        middlewares.add(Farewell(readiness: readiness))
        middlewares.add(AccessLog())
        middlewares.add(CrossOrigin(origins: corsOrigins))
        middlewares.add(ProblemMiddleware())
        let chain = middlewares.constructResponder(finalResponder: responder)
        self.responder = CallbackResponder { try await chain.respond(to: $0, context: $1) }
    }

    public func run() async throws {
        let idleTimeout = TimeAmount(configuration.idleTimeout)
        let limits = HTTP1Channel.Configuration(
            additionalChannelHandlers: encryption.guards + [
                BodyGuard(bytesMax: configuration.bodyBytesMax * 2), SlowReaderGuard(timeout: idleTimeout),
            ],
            idleTimeout: idleTimeout,
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
        guard let makeHandler = encryption.makeHandler else { return .http1(configuration: limits) }
        return HTTPServerBuilder { responder in
            TLSChildChannel(base: HTTP1Channel(responder: responder, configuration: limits), makeHandler: makeHandler)
        }
    }
}
