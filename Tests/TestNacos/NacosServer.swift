import AsyncHTTPClient
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix

/// A Nacos for the tests, where the real one cannot be had: it follows the sources of alibaba/nacos 2.3.2 in what it checks, answers
/// and refuses, as far as Apus uses it. Which sources says each part: ``NacosNaming``, ``NacosDocuments``, ``NacosParameterCheck``;
/// the login is `plugin-default-impl/nacos-default-auth-plugin/…/auth/impl/controller/UserController.java` and
/// `core/…/core/auth/AuthFilter.java`.
package final class NacosServer: Sendable {
    package struct Options: Sendable {
        /// `HealthCheckReactor.scheduleCheck` has 5 s.
        package var checkInterval = TimeAmount.milliseconds(100)
        /// `LongPollingService` has 10 s (`MIN_LONG_POOLING_TIMEOUT`).
        package var longPollMin = TimeAmount.seconds(10)
        /// Nil: `nacos.core.auth.enabled` is false.
        package var login: (username: String, password: String)?

        package init(login: (username: String, password: String)? = nil) { self.login = login }
    }

    struct Answer: Sendable {
        var status: Int
        var text: String
        var headers: [(String, String)] = []
    }

    private struct State {
        var naming = NacosNaming()
        var documents = NacosDocuments()
        /// Whether each can be used.
        var tokens: [String: Bool] = [:]
        var logins = 0
        /// What every request is answered with; nil: as it should be.
        var failure: Int?
        var failedRequests = 0
        var requests: [String] = []
    }

    package let port: Int
    private let options: Options
    private let state = NIOLockedValueBox(State())
    private let channel: any Channel
    private let children: NIOLockedValueBox<[ObjectIdentifier: any Channel]>

    package static func with<Result>(
        _ options: Options = Options(), port: Int = 0, isolation: isolated (any Actor)? = #isolation,
        _ body: (NacosServer) async throws -> Result
    ) async throws -> Result {
        let server = try await NacosServer(options, port: port)
        do {
            let result = try await body(server)
            try await server.close()
            return result
        } catch {
            try? await server.close()
            throw error
        }
    }

    private init(_ options: Options, port: Int) async throws {
        self.options = options
        let owner = NIOLockedValueBox<NacosServer?>(nil)
        let children = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])
        self.children = children
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                children.withLockedValue { $0[ObjectIdentifier(channel)] = channel }
                channel.closeFuture.whenComplete { _ in children.withLockedValue { $0[ObjectIdentifier(channel)] = nil } }
                return channel.eventLoop.makeCompletedFuture {
                    let handlers = channel.pipeline.syncOperations
                    try handlers.configureHTTPServerPipeline(withPipeliningAssistance: true)
                    try handlers.addHandler(
                        NacosHandler { request, loop in
                            guard let server = owner.withLockedValue({ $0 }) else {
                                return loop.makeFailedFuture(ChannelError.ioOnClosedChannel)
                            }
                            return server.answer(request, loop)
                        })
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        self.port = channel.localAddress?.port ?? 0
        owner.withLockedValue { $0 = self }
        channel.closeFuture.whenComplete { _ in owner.withLockedValue { $0 = nil } }
        let beats = channel.eventLoop.scheduleRepeatedTask(initialDelay: options.checkInterval, delay: options.checkInterval) { [state] _ in
            state.withLockedValue { $0.naming.checkBeats(now: .now) }
        }
        channel.closeFuture.whenComplete { _ in beats.cancel() }
    }

    package func close() async throws {
        if channel.isActive { try await channel.close() }
        for child in children.withLockedValue({ Array($0.values) }) { try? await child.close() }
        state.withLockedValue { $0.documents.failListeners() }
    }

    // MARK: For the tests

    package var instanceCount: Int { state.withLockedValue { $0.naming.services.values.reduce(0) { $0 + $1.count } } }
    /// As the console shows them.
    package var instances: [NacosNaming.Instance] {
        state.withLockedValue { state in state.naming.services.keys.flatMap(state.naming.shown) }
    }
    package var services: [NacosNaming.Service] { state.withLockedValue { Array($0.naming.services.keys) } }
    package var listenerCount: Int { state.withLockedValue(\.documents.listenerCount) }
    package var loginCount: Int { state.withLockedValue(\.logins) }
    /// Since it began, of those that ``fail(with:)`` has failed.
    package var failedRequestCount: Int { state.withLockedValue(\.failedRequests) }
    /// `METHOD path` of each, in their order.
    package var requests: [String] { state.withLockedValue(\.requests) }

    /// As after a restart without its data.
    package func forgetInstances() { state.withLockedValue { $0.naming = NacosNaming() } }
    package func expireTokens() { state.withLockedValue { $0.tokens = $0.tokens.mapValues { _ in false } } }
    /// From here on every request is answered with this status; nil: as it should be.
    package func fail(with status: Int?) { state.withLockedValue { $0.failure = status } }

    /// As Nacos's console or `curl` does it, without the code that is tested.
    /// - Parameter text: nil deletes the document.
    package func publish(_ name: String, _ text: String?, group: String = "DEFAULT_GROUP", tenant: String = "") async throws {
        var address = URLComponents()
        address.queryItems = [.init(name: "dataId", value: name), .init(name: "group", value: group), .init(name: "tenant", value: tenant)]
        if options.login != nil { address.queryItems?.append(.init(name: "accessToken", value: newToken())) }
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/nacos/v1/cs/configs?\(address.percentEncodedQuery ?? "")")
        request.method = text == nil ? .DELETE : .POST
        if let text {
            let content = text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
            request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            request.body = .bytes(ByteBuffer(string: "content=\(content)"))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(5))
        let answer = String(buffer: try await response.body.collect(upTo: 1_024))
        guard answer == "true" else { throw NacosRefusal(Int(response.status.code), answer) }
    }

    private func newToken() -> String {
        state.withLockedValue { Self.newToken(&$0) }
    }

    private static func newToken(_ state: inout State) -> String {
        let token = "token-\(state.tokens.count + 1)"
        state.tokens[token] = true
        return token
    }

    // MARK: Requests

    private func answer(_ request: NacosRequest, _ loop: any EventLoop) -> EventLoopFuture<Answer> {
        let promise = loop.makePromise(of: Answer.self)
        do {
            if let answer = try route(request, promise) { promise.succeed(answer) }
        } catch let refusal as NacosRefusal {
            promise.succeed(Self.page(refusal, request))
        } catch {
            promise.fail(error)
        }
        return promise.futureResult
    }

    /// Nil when it is answered by the promise, maybe later.
    private func route(_ request: NacosRequest, _ promise: EventLoopPromise<Answer>) throws -> Answer? {
        try state.withLockedValue { state in
            state.requests.append("\(request.method) \(request.path)")
            if let failure = state.failure {
                state.failedRequests += 1
                throw NacosRefusal(failure, "server is STARTING now, please try again later!")
            }
            if request.path == "/nacos/v1/auth/login" { return try logIn(request, &state) }
            try checkToken(request, state)
            switch (request.path, request.method) {
            case ("/nacos/v1/ns/instance", "POST"): return Answer(status: 200, text: try state.naming.register(request))
            case ("/nacos/v1/ns/instance", "PUT"): return Answer(status: 200, text: try state.naming.update(request))
            case ("/nacos/v1/ns/instance", "DELETE"): return Answer(status: 200, text: try state.naming.deregister(request))
            case ("/nacos/v1/ns/instance/beat", "PUT"): return Answer(status: 200, text: try state.naming.beat(request))
            case ("/nacos/v1/ns/instance/list", "GET"): return Answer(status: 200, text: try state.naming.list(request))
            case ("/nacos/v1/cs/configs", "GET"): return try state.documents.get(request)
            case ("/nacos/v1/cs/configs", "POST"): return try state.documents.publish(request)
            case ("/nacos/v1/cs/configs", "DELETE"): return try state.documents.delete(request)
            case ("/nacos/v1/cs/configs/listener", "POST"):
                if let number = try state.documents.listen(request, promise) { expire(number, request, promise.futureResult.eventLoop) }
                return nil
            default: throw NacosRefusal(404, "No message available", isPage: true)
            }
        }
    }

    /// `LongPollingService.addLongPollingClient`: half a second before the client gives up, but not before the minimum.
    private func expire(_ number: Int, _ request: NacosRequest, _ loop: any EventLoop) {
        let asked = Int64(request.headers["long-pulling-timeout"] ?? "") ?? 0
        loop.scheduleTask(in: max(options.longPollMin, .milliseconds(asked - 500))) { [weak self] in
            self?.state.withLockedValue { $0.documents.timeOut(number) }
        }
    }

    private func logIn(_ request: NacosRequest, _ state: inout State) throws -> Answer {
        guard request.method == "POST" else { throw NacosRefusal(405, "Request method not supported", isPage: true) }
        let username = try request.springParameter("username")
        let password = try request.springParameter("password")
        state.logins += 1
        let token: String
        if let login = options.login {
            // `ConsoleExceptionHandler`: an unknown user is an exception of Spring's that it has no special case for.
            guard username == login.username else { throw NacosRefusal(500, "caused: User \(username) not found;") }
            guard password == login.password else { throw NacosRefusal(403, "user not found!") }
            token = Self.newToken(&state)
        } else {
            token = "AUTH_DISABLED"
        }
        return Answer(
            status: 200, text: #"{"accessToken":"\#(token)","tokenTtl":18000,"globalAdmin":true,"username":"\#(username)"}"#,
            headers: [("Authorization", "Bearer \(token)")])
    }

    private func checkToken(_ request: NacosRequest, _ state: State) throws {
        guard options.login != nil else { return }
        let bearer = request.headers["authorization"].flatMap { $0.hasPrefix("Bearer ") ? String($0.dropFirst(7)) : nil }
        guard let token = bearer ?? request.parameters["accessToken"], !token.isEmpty else {
            throw NacosRefusal(403, "user not found!", isPage: true)
        }
        switch state.tokens[token] {
        case true?: return
        case false?: throw NacosRefusal(403, "token expired!", isPage: true)
        case nil: throw NacosRefusal(403, "token invalid!", isPage: true)
        }
    }

    /// `sendError`, with `server.error.include-message=ALWAYS`.
    private static func page(_ refusal: NacosRefusal, _ request: NacosRequest) -> Answer {
        guard refusal.isPage else { return Answer(status: refusal.status, text: refusal.message) }
        let reason = HTTPResponseStatus(statusCode: refusal.status).reasonPhrase
        return Answer(
            status: refusal.status,
            text: """
                {"timestamp":"2026-01-01T00:00:00.000+00:00","status":\(refusal.status),"error":"\(reason)",\
                "message":"\(refusal.message)","path":"\(request.path)"}
                """,
            headers: [("Content-Type", "application/json")])
    }
}

private final class NacosHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let answer: @Sendable (NacosRequest, any EventLoop) -> EventLoopFuture<NacosServer.Answer>
    private var head: HTTPRequestHead?
    private var body = ""

    init(_ answer: @escaping @Sendable (NacosRequest, any EventLoop) -> EventLoopFuture<NacosServer.Answer>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = ""
        case .body(let bytes): body += String(buffer: bytes)
        case .end:
            guard let head else { return }
            let headers = Dictionary(head.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first }
            let request = NacosRequest(method: head.method.rawValue, uri: head.uri, headers: headers, body: body)
            let channel = context.channel
            answer(request, context.eventLoop).whenComplete { result in
                guard case .success(let answer) = result else { return channel.close(promise: nil) }
                let bytes = ByteBuffer(string: answer.text)
                var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
                head.headers = HTTPHeaders(answer.headers + [("Content-Length", String(bytes.readableBytes))])
                channel.write(HTTPServerResponsePart.head(head), promise: nil)
                channel.write(HTTPServerResponsePart.body(.byteBuffer(bytes)), promise: nil)
                channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
