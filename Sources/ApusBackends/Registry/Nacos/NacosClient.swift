import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1

/// Speaks Nacos's Open API (2.x, version 1 of the paths): the login, and a choice of servers.
///
/// Follows alibaba/nacos 2.3.2: the login is `plugin-default-impl/…/auth/impl/controller/UserController.java`, tokens are taken as
/// `Authorization: Bearer` by `NacosAuthPluginService.resolveToken` in the same module, and refused with 403 by
/// `core/…/core/auth/AuthFilter.java`. `naming/…/naming/web/TrafficReviseFilter.java` answers 503 while a server starts.
final class NacosClient: Sendable {
    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var text: String
    }

    private struct State {
        /// The server that worked last.
        var preferred = 0
        var token: Token?
    }

    private struct Token {
        var text: String
        var goodUntil: ContinuousClock.Instant
    }

    /// The configuration service takes documents of 10 MiB (`PropertyUtil.maxContent`); lists of nodes are smaller.
    private static let bytesMax = 11 << 20

    let configuration: NacosConfiguration
    private let http: HTTPClient
    private let state = NIOLockedValueBox(State())

    init(_ configuration: NacosConfiguration, http: HTTPClient) {
        self.configuration = configuration
        self.http = http
    }

    /// Asks one server after the other until one answers.
    /// - Parameters:
    ///   - form: the body; nil: none.
    ///   - timeout: for one server; nil: the configured one.
    /// - Returns: an answer with any status below 500, except that a token which is not taken any more is replaced once.
    /// - Throws: ``ApusError`` `store_unavailable` when no server answers, `forbidden` when the login or the access is refused.
    func request(
        _ method: HTTPMethod, _ path: String, _ query: [(String, String)], form: [(String, String)]? = nil, headers: HTTPHeaders = [:],
        timeout: Duration? = nil
    ) async throws -> Answer {
        var isSecondTry = false
        while true {
            var headers = headers
            if let token = try await token() { headers.replaceOrAdd(name: "Authorization", value: "Bearer \(token)") }
            let answer = try await send(method, path, query, form: form, headers: headers, timeout: timeout ?? configuration.callTimeout)
            guard answer.status == .forbidden || answer.status == .unauthorized else { return answer }
            guard configuration.login != nil, !isSecondTry else {
                throw ApusError(.forbidden, "Nacos refuses access: \(answer.text.prefix(300))")
            }
            isSecondTry = true
            state.withLockedValue { $0.token = nil }
        }
    }

    // MARK: Login

    private func token() async throws -> String? {
        guard let login = configuration.login else { return nil }
        if let token = state.withLockedValue({ $0.token }), token.goodUntil > .now { return token.text }
        let answer = try await send(
            .POST, "/v1/auth/login", [], form: [("username", login.username), ("password", login.password)], headers: [:],
            timeout: configuration.callTimeout)
        struct Reply: Decodable {
            var accessToken: String
            /// Seconds.
            var tokenTtl: Int64
        }
        guard answer.status == .ok, let reply = try? JSONDecoder().decode(Reply.self, from: Data(answer.text.utf8)) else {
            throw ApusError(.forbidden, "Nacos refuses the login of '\(login.username)': \(answer.text.prefix(300))")
        }
        // Renewed early, as the clocks of this and of other servers of the cluster differ. A server that does not check tokens gives
        // a time of day for a length (`JwtTokenManager.getTokenTtlInSeconds`).
        let seconds = min(max(reply.tokenTtl, 1), 86_400) * 9 / 10
        let token = Token(text: reply.accessToken, goodUntil: .now + .seconds(seconds))
        state.withLockedValue { $0.token = token }
        return token.text
    }

    // MARK: Servers

    private func send(
        _ method: HTTPMethod, _ path: String, _ query: [(String, String)], form: [(String, String)]?, headers: HTTPHeaders, timeout: Duration
    ) async throws -> Answer {
        let servers = configuration.servers
        let first = state.withLockedValue(\.preferred)
        var reasons: [String] = []
        for attempt in servers.indices {
            let index = (first + attempt) % servers.count
            do {
                let answer = try await send(
                    to: servers[index], method, path, query, form: form, headers: headers, timeout: timeout)
                guard answer.status.code >= 500 else {
                    state.withLockedValue { $0.preferred = index }
                    return answer
                }
                reasons.append("\(servers[index]): \(answer.status.code) \(answer.text.prefix(200))")
            } catch {
                try Task.checkCancellation()
                reasons.append("\(servers[index]): \(error)")
            }
        }
        throw ApusError(.storeUnavailable, "no Nacos server does what it is asked: \(reasons.joined(separator: "; "))")
    }

    private func send(
        to server: NetworkAddress, _ method: HTTPMethod, _ path: String, _ query: [(String, String)], form: [(String, String)]?,
        headers: HTTPHeaders, timeout: Duration
    ) async throws -> Answer {
        let scheme = configuration.usesTLS ? "https" : "http"
        let parameters = query.isEmpty ? "" : "?" + Self.encode(query)
        var request = HTTPClientRequest(url: "\(scheme)://\(server)\(configuration.contextPath)\(path)\(parameters)")
        request.method = method
        request.headers = headers
        request.headers.add(name: "User-Agent", value: "Apus")
        if let form {
            request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded; charset=UTF-8")
            request.body = .bytes(ByteBuffer(string: Self.encode(form)))
        }
        let response = try await http.execute(request, timeout: TimeAmount(timeout))
        let body = try await response.body.collect(upTo: Self.bytesMax)
        return Answer(status: response.status, headers: response.headers, text: String(buffer: body))
    }

    /// `application/x-www-form-urlencoded`, as a servlet container reads it.
    static func encode(_ parameters: [(String, String)]) -> String {
        parameters.map { "\(encode($0.0))=\(encode($0.1))" }.joined(separator: "&")
    }

    private static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                encoded.append(byte)
            default: encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
