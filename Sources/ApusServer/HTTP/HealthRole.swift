import ApusCore
import ApusProtocol
import Hummingbird
import Logging

/// `/healthz`: the process is alive. `/readyz`: it wants traffic.
struct HealthRole: HTTPRole {
    private struct Report: Encodable {
        var status: String
        /// What is not there; absent when nothing is missing.
        var missing: [String]?
    }

    let readiness: Readiness

    func addRoutes(to routes: HTTPRoutes) {
        routes.on(.get, HTTPPath.health, for: .anybody) { _, _ in try Response.json(Report(status: "alive")) }
        routes.on(.get, HTTPPath.readiness, for: .anybody) { _, _ in
            let (state, missing) = readiness.report
            return try Response.json(
                Report(status: state.rawValue, missing: missing.isEmpty ? nil : missing),
                status: state == .ready ? .ok : .serviceUnavailable)
        }
    }
}

extension HTTPService {
    /// The listener of a process that waits for what it needs: it says how it is, and that everything else has to wait.
    public init(
        waitingOn configuration: HTTPConfiguration, readiness: Readiness, encryption: HTTPEncryption = .none, logger: Logger
    ) {
        let routes = HTTPRoutes(verifier: NoTokens())
        HealthRole(readiness: readiness).addRoutes(to: routes)
        routes.complete()
        let health = routes.router.buildResponder()
        self.init(
            configuration: configuration,
            responder: CallbackResponder<APIContext> { request, context in
                guard [HTTPPath.health, HTTPPath.readiness].contains(request.uri.path) else {
                    throw ApusError(.unavailable, "this server is starting", retryAfterMilliseconds: 1_000)
                }
                return try await health.respond(to: request, context: context)
            },
            readiness: readiness, encryption: encryption, logger: logger)
    }
}

/// Nobody is known yet.
private struct NoTokens: TokenVerifier {
    func verify(accessToken: String) async throws -> AccessGrant { throw ApusError(.unavailable, "this server is starting") }
}
