import ApusCore
import ApusProtocol
import Hummingbird
import Logging
import ServiceLifecycle

/// The one HTTP entrance of a cluster. Sends each request to a node of the role that answers it, checks access tokens before
/// anybody else has work with them (the roles check them again), bounds what one client may ask, and tells the nodes who asks.
///
/// It has no state but counters: any number of gateways stand side by side.
public struct GatewayRole: Service {
    /// What is let through, from the next request on.
    public let limits: LiveSetting<GatewayLimits>

    private let http: HTTPService

    /// - Parameters:
    ///   - upstreams: of the roles auth, user and web. It and what it needs run for as long as this does.
    ///   - limiter: shared by all gateways.
    ///   - fallback: asked when `limiter` cannot be reached; nil: there are no limits then.
    ///   - certificate: nil: no TLS with clients.
    public init(
        configuration: GatewayConfiguration, upstreams: UpstreamClient, verifier: any TokenVerifier, limiter: any RateLimiter,
        fallback: (any RateLimiter)?, readiness: Readiness, certificate: TLSCertificate? = nil, logger: Logger
    ) {
        limits = LiveSetting(configuration.limits)
        let own = HTTPRoutes(verifier: verifier)
        HealthRole(readiness: readiness).addRoutes(to: own)
        own.complete()
        let responder = GatewayResponder(
            configuration: configuration, table: .api, upstreams: upstreams, verifier: verifier,
            limits: RequestLimits(limits: limits, limiter: limiter, fallback: fallback, logger: logger),
            own: own.router.buildResponder())
        http = HTTPService(
            configuration: configuration.http, responder: responder, readiness: readiness,
            encryption: certificate.map { .clients($0) } ?? .none, logger: logger)
    }

    /// Where it listens, once it does.
    public var address: BoundAddress { http.address }

    /// As ``HTTPService/corsOrigins``.
    public var corsOrigins: LiveSetting<[String]> { http.corsOrigins }

    /// Listens until shutdown, and then finishes the requests that are under way.
    public func run() async throws { try await http.run() }
}
