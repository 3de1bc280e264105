import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL

/// The HTTP API of a server: encodes requests, keeps deadlines, turns every failure into an ``ApusError``.
struct APIClient: Sendable {
    struct Request: Sendable {
        enum Body: Sendable {
            case none
            case json(Data)
            case form([(String, String)])
        }

        var method: HTTPMethod
        var path: String
        var query: [(String, String)] = []
        var body = Body.none
        /// A repeated request with the same key changes nothing a second time.
        var idempotencyKey: String?

        /// Whether the request may be made again when nobody knows what became of it.
        var isIdempotent: Bool { method == .GET || idempotencyKey != nil }
    }

    private static let answerBytesMax = 8 << 20

    /// One for the process, as `HTTPClient.shared` is, except that a connection that is refused is reported at once: whether and when to
    /// try again is for those to decide who know what the request is for.
    private static let http: HTTPClient = {
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.retryConnectionEstablishment = false
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()

    let server: URL
    let timeout: Duration
    /// Nil: as the HTTP client does by itself.
    let tls: TLSConfiguration?
    let client: HTTPClient

    init(server: URL, timeout: Duration, tls: TLSConfiguration? = nil, client: HTTPClient = APIClient.http) {
        self.server = server
        self.timeout = timeout
        self.tls = tls
        self.client = client
    }

    /// - Throws: ``ApusError``; `CancellationError`.
    func call<Answer: Decodable & Sendable>(_ request: Request, token: String? = nil, as type: Answer.Type = Answer.self) async throws
        -> Answer
    {
        let body = try await perform(request, token: token)
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        } catch {
            throw ApusError(.badAnswer, "the server's answer to \(request.method) \(request.path) was not understood", cause: error)
        }
    }

    /// For an answer without content.
    func call(_ request: Request, token: String? = nil) async throws {
        _ = try await perform(request, token: token)
    }

    private func perform(_ request: Request, token: String?) async throws -> ByteBuffer {
        do {
            return try await attempt(request, token: token)
        } catch let error as ApusError where error.code == .unreachable && request.isIdempotent {
            // A pooled connection that the server closed meanwhile looks like this; a second try takes a new one.
            return try await attempt(request, token: token)
        }
    }

    private func attempt(_ request: Request, token: String?) async throws -> ByteBuffer {
        var outgoing = HTTPClientRequest(url: try url(request))
        outgoing.method = request.method
        outgoing.tlsConfiguration = tls
        outgoing.headers.add(name: "accept", value: "application/json, application/problem+json")
        if let token { outgoing.headers.add(name: "authorization", value: "Bearer \(token)") }
        if let key = request.idempotencyKey { outgoing.headers.add(name: "idempotency-key", value: key) }
        switch request.body {
        case .none: break
        case .json(let data):
            outgoing.headers.add(name: "content-type", value: "application/json")
            outgoing.body = .bytes(ByteBuffer(bytes: data))
        case .form(let fields):
            outgoing.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
            outgoing.body = .bytes(ByteBuffer(string: Self.encode(form: fields)))
        }
        let response: HTTPClientResponse
        let body: ByteBuffer
        do {
            let deadline = NIODeadline.now() + TimeAmount(timeout)
            response = try await client.execute(outgoing, deadline: deadline)
            body = try await response.body.collect(upTo: Self.answerBytesMax)
        } catch let error where error is CancellationError || Task.isCancelled {
            throw CancellationError()
        } catch let error as HTTPClientError where Self.timeouts.contains(error) {
            throw ApusError(.timedOut, "the server did not answer in time", cause: error)
        } catch {
            throw ApusError(.unreachable, ServerTrust.describe(error, "the server cannot be reached"), cause: error)
        }
        guard (200..<300).contains(response.status.code) else { throw Self.refusal(response, body) }
        return body
    }

    private static let timeouts: [HTTPClientError] = [.deadlineExceeded, .readTimeout, .connectTimeout, .getConnectionFromPoolTimeout]

    private func url(_ request: Request) throws -> String {
        guard var components = URLComponents(url: server, resolvingAgainstBaseURL: false) else {
            throw ApusError(.invalidArgument, "the server's address is not a URL")
        }
        components.path = (components.path.hasSuffix("/") ? String(components.path.dropLast()) : components.path) + request.path
        components.query = nil
        components.fragment = nil
        if !request.query.isEmpty { components.percentEncodedQuery = Self.encode(form: request.query) }
        guard let url = components.string else { throw ApusError(.invalidArgument, "the server's address is not a URL") }
        return url
    }

    private static func encode(form fields: [(String, String)]) -> String {
        fields.map { "\(escape($0))=\(escape($1))" }.joined(separator: "&")
    }

    /// Everything but the unreserved characters of RFC 3986, so that `+`, `&` and `=` keep their meaning.
    private static func escape(_ text: String) -> String {
        let unreserved = CharacterSet(charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
        return text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? ""
    }

    // MARK: Refusals

    private static func refusal(_ response: HTTPClientResponse, _ body: ByteBuffer) -> ApusError {
        let data = Data(body.readableBytesView)
        let retryAfter = response.headers.first(name: "retry-after").flatMap(UInt32.init).map { $0.multipliedClamping(by: 1000) }
        if let problem = try? JSONDecoder().decode(Problem.self, from: data) {
            return ApusError(problem.code, problem.detail, retryAfterMilliseconds: retryAfter)
        }
        if let refusal = try? JSONDecoder().decode(OAuthErrorResponse.self, from: data) {
            return ApusError(refusal.code ?? code(oauth: refusal.error), refusal.errorDescription, retryAfterMilliseconds: retryAfter)
        }
        // Something between the server and this client answered.
        return ApusError(
            code(status: response.status.code), "the server answered \(response.status.code)", retryAfterMilliseconds: retryAfter)
    }

    private static func code(oauth error: String) -> ErrorCode {
        switch error {
        case "invalid_grant", "invalid_client": .unauthenticated
        case "access_denied": .loginRefused
        case "temporarily_unavailable": .overloaded
        case "server_error": .internal
        default: .invalidArgument
        }
    }

    private static func code(status: UInt) -> ErrorCode {
        switch status {
        case 401: .unauthenticated
        case 403: .forbidden
        case 404: .notFound
        case 413: .tooLarge
        case 429, 502, 503, 504: .overloaded
        case 500...: .internal
        default: .badAnswer
        }
    }
}

extension APIClient.Request {
    static func get(_ path: String, _ query: [(String, String)] = []) -> Self { Self(method: .GET, path: path, query: query) }

    static func json(_ method: HTTPMethod, _ path: String, _ body: some Encodable, idempotencyKey: String? = nil) throws -> Self {
        Self(method: method, path: path, body: .json(try JSONEncoder().encode(body)), idempotencyKey: idempotencyKey)
    }

    static func form(_ path: String, _ fields: [(String, String)]) -> Self { Self(method: .POST, path: path, body: .form(fields)) }
}

extension UInt32 {
    fileprivate func multipliedClamping(by factor: UInt32) -> UInt32 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
