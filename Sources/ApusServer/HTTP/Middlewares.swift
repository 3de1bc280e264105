import ApusCore
import ApusProtocol
import HTTPTypes
import Hummingbird
import Logging

extension HTTPField.Name {
    /// Of RFC 9110's kind, but not registered.
    static let requestID = HTTPField.Name("X-Request-Id")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let xForwardedFor = HTTPField.Name("X-Forwarded-For")!
    static let xForwardedProto = HTTPField.Name("X-Forwarded-Proto")!
    static let xForwardedHost = HTTPField.Name("X-Forwarded-Host")!
    /// W3C Trace Context.
    static let traceparent = HTTPField.Name("traceparent")!
    static let tracestate = HTTPField.Name("tracestate")!
    /// RFC 6749 section 5.1 wants it beside Cache-Control.
    static let pragma = HTTPField.Name("Pragma")!
}

/// Gives the request its id, the caller's if it brought a decent one, and its limits.
struct RequestPreparation: RouterMiddleware {
    let bodyBytesMax: Int
    let trust: ProxyTrust
    /// Whether clients reach this listener itself by TLS.
    let isEncrypted: Bool

    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        var context = context
        context.id = request.headers[.requestID].flatMap(Self.accepted) ?? RequestID().description
        context.bodyBytesMax = bodyBytesMax
        context.isEncrypted = isEncrypted
        if let caller = context.clientAddress {
            context.clientAddress = caller.client(forwardedFor: request.headers[values: .xForwardedFor], trusting: trust)
            if trust.includes(caller), let scheme = request.headers[.xForwardedProto] { context.isEncrypted = scheme == "https" }
        }
        context.logger[metadataKey: "hb.request.id"] = nil
        context.logger[metadataKey: "request"] = "\(context.id)"
        var response = try await next(request, context)
        response.headers[.requestID] = context.id
        return response
    }

    /// An id goes into the log and comes back in a header: nothing but harmless characters, and not many.
    private static func accepted(_ id: String) -> String? {
        let isHarmless = id.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || "-_.".utf8.contains(byte)
        }
        return isHarmless && (1...64).contains(id.utf8.count) ? id : nil
    }
}

/// Asks clients that keep their connection to make the next one elsewhere while this process leaves: otherwise it would close the
/// connection when it ends, perhaps at the moment of their next request, which is lost then.
struct Farewell: RouterMiddleware {
    let readiness: Readiness

    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        var response = try await next(request, context)
        if readiness.state == .draining { response.headers[.connection] = "close" }
        return response
    }
}

/// One line per request, without query, headers and bodies: those may hold names, tokens and messages.
struct AccessLog: RouterMiddleware {
    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        let start = ContinuousClock.now
        let response = try await next(request, context)
        let elapsed = ContinuousClock.now - start
        context.logger.debug(
            "http",
            metadata: [
                "client": "\(context.clientAddress?.description ?? "unknown")", "method": "\(request.method.rawValue)",
                "path": "\(request.uri.path)", "status": "\(response.status.code)",
                "microseconds": "\(elapsed / .microseconds(1))",
            ])
        return response
    }
}

/// Lets browsers of the configured origins call the API (Fetch standard, CORS protocol).
struct CrossOrigin: RouterMiddleware {
    let origins: LiveSetting<[String]>

    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        guard let origin = request.headers[.origin] else { return try await next(request, context) }
        let origins = origins.value
        let isPreflight = request.method == .options && request.headers[.accessControlRequestMethod] != nil
        var response = isPreflight ? Response.noContent : try await next(request, context)
        if !origins.contains("*") { response.headers[.vary] = "Origin" }
        guard let allowed = origins.contains("*") ? "*" : origins.first(where: { $0 == origin }) else { return response }
        response.headers[.accessControlAllowOrigin] = allowed
        response.headers[.accessControlExposeHeaders] = "X-Request-Id, Retry-After, Location"
        if isPreflight {
            response.headers[.accessControlAllowMethods] = "GET, HEAD, POST, PUT, PATCH, DELETE"
            response.headers[.accessControlAllowHeaders] = "Authorization, Content-Type, Idempotency-Key, X-Request-Id"
            response.headers[.accessControlMaxAge] = "7200"
        }
        return response
    }
}

/// Gives a request a deadline, from its header to its response. Reading a body that trickles in counts.
struct DeadlineResponder<Next: HTTPResponder<APIContext>>: HTTPResponder {
    let timeout: Duration
    let next: Next

    func respond(to request: Request, context: APIContext) async throws -> Response {
        try await withThrowingTaskGroup(of: Response?.self) { group in
            group.addTask { try await next.respond(to: request, context: context) }
            group.addTask {
                try await Task.sleep(for: timeout)
                return nil
            }
            defer { group.cancelAll() }
            guard let first = try await group.next(), let response = first else {
                throw ApusError(.overloaded, "the request took longer than \(timeout)")
            }
            return response
        }
    }
}
