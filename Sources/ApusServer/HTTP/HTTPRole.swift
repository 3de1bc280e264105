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
    private var added: [String: [HTTPRequest.Method: Access]] = [:]

    init(verifier: any TokenVerifier, deviceCheck: DeviceCheck? = nil) {
        // Inside the router as well as around it: the router itself makes an empty response of its own "not found".
        router.add(middleware: ProblemMiddleware())
        protected = router.group().add(middleware: BearerAuthentication(verifier: verifier, deviceCheck: deviceCheck))
    }

    /// - Parameter path: with parameters like `/v1/accounts/{id}`.
    public func on(_ method: HTTPRequest.Method, _ path: String, for access: Access, use handler: @escaping Handler) {
        added[path, default: [:]][method] = access
        switch access {
        case .anybody: router.on(RouterPath(path), method: method, use: handler)
        case .token: protected.on(RouterPath(path), method: method, use: handler)
        }
    }

    /// What was added, by path and method.
    var table: [String: [HTTPRequest.Method: Access]] { added }

    static func withHead(_ methods: some Collection<HTTPRequest.Method>) -> Set<HTTPRequest.Method> {
        methods.contains(.get) ? Set(methods).union([.head]) : Set(methods)
    }

    /// The value of an `Allow` field.
    static func allow(_ methods: some Collection<HTTPRequest.Method>) -> String {
        methods.map(\.rawValue).sorted().joined(separator: ", ")
    }

    /// Answers every method that a known path does not have with `405`.
    func complete() {
        for (path, methods) in added {
            let known = Self.withHead(methods.keys)
            let allow = Self.allow(known)
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
        var context = context
        let grant = try await Self.grant(of: request, verifier)
        if case .device(_, let device) = grant.subject { try await deviceCheck?.check(device) }
        context.grant = grant
        return try await next(request, context)
    }

    /// - Throws: ``ApusError`` `unauthenticated`.
    static func grant(of request: Request, _ verifier: any TokenVerifier) async throws -> AccessGrant {
        guard let header = request.headers[.authorization] else {
            throw ApusError(.unauthenticated, "an access token is required")
        }
        let parts = header.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw ApusError(.unauthenticated, "authorization is not a bearer token")
        }
        return try await verifier.verify(accessToken: String(parts[1]))
    }
}
