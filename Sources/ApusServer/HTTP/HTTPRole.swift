import ApusCore
import ApusProtocol
import Hummingbird

/// Who may call a route.
public enum Access: Sendable {
    case anybody
    /// A valid access token is required.
    case token
}

/// A role that answers HTTP requests: a part of the API that may live on nodes of its own.
public protocol HTTPRole: Sendable {
    func addRoutes(to routes: HTTPRoutes)
}

/// The routes of one listener. Adding them here and not to the router directly gives every path a proper `405`, and every
/// protected route its token check in one place.
public final class HTTPRoutes {
    public typealias Handler = @Sendable (Request, APIContext) async throws -> Response

    private static let methods: [HTTPRequest.Method] = [.get, .head, .post, .put, .patch, .delete]

    let router = Router(context: APIContext.self, options: [.autoGenerateHeadEndpoints])
    private let protected: RouterGroup<APIContext>
    private var added: [String: [HTTPRequest.Method]] = [:]

    init(verifier: any TokenVerifier, deviceCheck: DeviceCheck? = nil) {
        // Inside the router as well as around it: the router itself makes an empty response of its own "not found".
        router.add(middleware: ProblemMiddleware())
        protected = router.group().add(middleware: BearerAuthentication(verifier: verifier, deviceCheck: deviceCheck))
    }

    /// - Parameter path: with parameters like `/v1/accounts/{id}`.
    public func on(_ method: HTTPRequest.Method, _ path: String, for access: Access, use handler: @escaping Handler) {
        added[path, default: []].append(method)
        switch access {
        case .anybody: router.on(RouterPath(path), method: method, use: handler)
        case .token: protected.on(RouterPath(path), method: method, use: handler)
        }
    }

    /// Answers every method that a known path does not have with `405`.
    func complete() {
        for (path, methods) in added {
            var known = methods
            if known.contains(.get) { known.append(.head) }
            let allow = known.map(\.rawValue).sorted().joined(separator: ", ")
            for method in Self.methods where !known.contains(method) {
                router.on(RouterPath(path), method: method) { _, _ -> Response in
                    try Problems.response(
                        ApusError(.methodNotAllowed, "this resource answers to \(allow)"), headers: [.allow: allow])
                }
            }
        }
    }
}

/// The one place where access tokens of HTTP requests are checked (RFC 6750, header field only).
struct BearerAuthentication: RouterMiddleware {
    let verifier: any TokenVerifier
    /// Nil: a revoked device's tokens are good until they expire.
    let deviceCheck: DeviceCheck?

    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        guard let header = request.headers[.authorization] else {
            throw ApusError(.unauthenticated, "an access token is required")
        }
        let parts = header.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw ApusError(.unauthenticated, "authorization is not a bearer token")
        }
        var context = context
        let grant = try await verifier.verify(accessToken: String(parts[1]))
        if case .device(_, let device) = grant.subject { try await deviceCheck?.check(device) }
        context.grant = grant
        return try await next(request, context)
    }
}
