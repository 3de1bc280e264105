import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// Answers each request by the node whose role it is.
struct GatewayResponder: HTTPResponder {
    /// After the HTTP client's own deadline, which knows that it is the node who is late.
    private static let grace = Duration.seconds(1)

    let configuration: GatewayConfiguration
    let table: RoutingTable
    let upstreams: UpstreamClient
    let verifier: any TokenVerifier
    let limits: RequestLimits
    /// Answers what is asked of the gateway itself.
    let own: any HTTPResponder<APIContext>

    func respond(to request: Request, context: APIContext) async throws -> Response {
        let path = request.uri.path
        if [HTTPPath.health, HTTPPath.readiness].contains(path) { return try await own.respond(to: request, context: context) }
        guard request.headers[.upgrade] == nil, request.method != .connect else {
            // What follows on the connection is no HTTP any more, as far as the client has its way.
            return try Problems.response(
                ApusError(.invalidArgument, "this is HTTP only; a client's socket node is at \(HTTPPath.socketNode)"),
                headers: [.connection: "close"])
        }
        let route: RoutingTable.Route
        switch table.match(request.method, path) {
        case .route(let found): route = found
        case .otherMethods(let methods):
            let allow = HTTPRoutes.allow(methods)
            return try Problems.response(ApusError(.methodNotAllowed, "this resource answers to \(allow)"), headers: [.allow: allow])
        case .unknown: throw ApusError(.notFound, "there is nothing at this path")
        }
        return try await forward(request, route, grant: try await admit(request, route, context), context)
    }

    // MARK: Admission

    /// - Returns: what the token says, where the path needs one.
    private func admit(_ request: Request, _ route: RoutingTable.Route, _ context: APIContext) async throws -> AccessGrant? {
        switch route.access {
        case .anybody:
            try await limits.check(.request(from: context.clientAddress))
            if route.purpose == .registration { try await limits.check(.registration(from: context.clientAddress)) }
            return nil
        case .token:
            let grant: AccessGrant
            do {
                grant = try await BearerAuthentication.grant(of: request, verifier)
            } catch {
                try await limits.check(.request(from: context.clientAddress))
                throw error
            }
            try await limits.check(.requestBy(grant.subject))
            return grant
        }
    }

    /// Counts an attempt to log in. What is not well formed is the role's to refuse.
    private func countLogin(_ form: ByteBuffer, _ context: APIContext) async throws {
        guard let text = String(validating: form.readableBytesView, as: UTF8.self), let form = try? FormParameters(text),
            form["grant_type"] == "password"
        else { return }
        try await limits.check(.login(from: context.clientAddress))
        if let name = form["username"], let username = try? Username(name) {
            try await limits.check(.loginTo(account: username.value))
        }
    }

    // MARK: Forwarding

    private func forward(
        _ request: Request, _ route: RoutingTable.Route, grant: AccessGrant?, _ context: APIContext
    ) async throws -> Response {
        let length = request.headers[.contentLength].flatMap { Int($0) }
        let hasBody = length.map { $0 > 0 } ?? request.headers.contains(.transferEncoding)
        if let length, length > context.bodyBytesMax { throw ApusError(.tooLarge, "the body has more than \(context.bodyBytesMax) bytes") }
        var outgoing = upstreamRequest(for: request, grant: grant, context)

        if hasBody, length.map({ $0 > upstreams.bufferBytesMax }) ?? true {
            guard route.purpose != .token else { throw ApusError(.tooLarge, "a form has at most \(upstreams.bufferBytesMax) bytes") }
            return try await relay(request, outgoing, to: route.role, length: length, context)
        }
        if hasBody {
            let body = try await withDeadline(
                configuration.http.requestTimeout, ApusError(.requestTimeout, "the body came too slowly")
            ) { try await request.body.collect(upTo: upstreams.bufferBytesMax) }
            outgoing.body = .bytes(body)
            if route.purpose == .token { try await countLogin(body, context) }
        }
        let (timeout, final) = (configuration.http.requestTimeout, outgoing)
        return try await withDeadline(timeout + Self.grace, Self.late) {
            response(try await upstreams.send(final, to: route.role, deadline: .now + timeout))
        }
    }

    /// Passes a large body on in pieces.
    private func relay(
        _ request: Request, _ outgoing: UpstreamRequest, to role: Role, length: Int?, _ context: APIContext
    ) async throws -> Response {
        let upload = Upload(length: length, bytesMax: context.bodyBytesMax)
        let timeout = configuration.transferTimeout
        let answer = try await withDeadline(timeout + Self.grace, Self.late) { [outgoing] in
            try await withThrowingTaskGroup(of: UpstreamResponse?.self) { group in
                group.addTask {
                    try await upload.pump(request.body)
                    return nil
                }
                group.addTask {
                    var outgoing = outgoing
                    outgoing.body = .stream(upload)
                    return try await upstreams.send(outgoing, to: role, deadline: .now + timeout)
                }
                // An answer may come before the end of the body; then the rest is not read.
                defer { group.cancelAll() }
                while let result = try await group.next() {
                    if let answer = result { return answer }
                }
                throw ApusError(.internal, "a request without an answer")
            }
        }
        var response = response(answer)
        // What is left of the body cannot be told from the next request.
        if !upload.isComplete { response.headers[.connection] = "close" }
        return response
    }

    private func upstreamRequest(for request: Request, grant: AccessGrant?, _ context: APIContext) -> UpstreamRequest {
        var random = SystemRandomNumberGenerator()
        let continued = request.headers[values: .traceparent].count == 1 ? request.headers[.traceparent].flatMap(TraceContext.init) : nil
        let trace = continued?.child(using: &random) ?? TraceContext(using: &random)
        let headers = HeaderRules.forwarded(
            request.headers,
            from: .init(
                address: context.clientAddress, authority: request.requestedHost?.authority, scheme: context.isEncrypted ? "https" : "http"),
            requestID: context.id, trace: trace, state: continued == nil ? nil : request.headers[.tracestate])
        return UpstreamRequest(
            method: request.method, target: request.uri.path + (request.uri.query.map { "?\($0)" } ?? ""), headers: headers,
            isRepeatable: [.get, .head].contains(request.method) || request.headers[.idempotencyKey]?.isEmpty == false,
            key: key(grant, context))
    }

    private func key(_ grant: AccessGrant?, _ context: APIContext) -> UInt64? {
        if case .device(let account, _) = grant?.subject { return account.rawValue }
        return context.clientAddress?.customer.bytes.reduce(into: UInt64(14_695_981_039_346_656_037)) { hash, byte in
            // FNV-1a: the same on every gateway.
            hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211
        }
    }

    private func response(_ answer: UpstreamResponse) -> Response {
        let headers = HeaderRules.returned(answer.headers)
        let body: ResponseBody
        switch answer.body {
        case .bytes(let bytes): body = bytes.readableBytes == 0 ? ResponseBody() : ResponseBody(byteBuffer: bytes)
        case .stream(let parts, let length, let call):
            body = ResponseBody(contentLength: length) { writer in
                // Nobody knows who is to blame when writing fails; reading fails for the node's reasons only.
                var iterator = parts.makeAsyncIterator()
                while let part = try await Self.next(&iterator, call) { try await writer.write(part) }
                call.end(.success, at: .now)
                try await writer.finish(nil)
            }
        }
        return Response(status: .init(code: answer.status), headers: headers, body: body)
    }

    private static func next(
        _ parts: inout HTTPClientResponse.Body.AsyncIterator, _ call: NodePool.Call
    ) async throws -> ByteBuffer? {
        do {
            return try await parts.next()
        } catch {
            call.end(Task.isCancelled ? .abandoned : .failure, at: .now)
            throw error
        }
    }

    private static let late = ApusError(.gatewayTimeout, "the request took too long")
}
