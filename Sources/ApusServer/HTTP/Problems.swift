import ApusProtocol
import Foundation
import Hummingbird
import Logging

/// Errors as problem documents of RFC 9457.
enum Problems {
    static func response(_ error: ApusError, headers: HTTPFields = [:]) throws -> Response {
        let status = status(of: error.code)
        var headers = headers
        headers[.contentType] = "application/problem+json"
        if error.code == .unauthenticated, headers[.wwwAuthenticate] == nil {
            headers[.wwwAuthenticate] = #"Bearer realm="apus""#
        }
        if let seconds = retryAfter(error) { headers[.retryAfter] = String(seconds) }
        let problem = Problem(title: status.reasonPhrase, status: status.code, detail: error.message, code: error.code)
        return try Response.json(problem, status: status, headers: headers)
    }

    /// What an error is to a client: its own code, or `internal` without a word about what happened.
    static func publicError(_ error: any Error) -> ApusError {
        switch error {
        case let error as ApusError: error
        case let error as HTTPError where error.status == .notFound: ApusError(.notFound, "there is nothing at this path")
        case let error as HTTPError where error.status == .contentTooLarge: ApusError(.tooLarge, "the body is too large")
        case let error as HTTPError where (400..<500).contains(error.status.code):
            ApusError(.malformed, error.body ?? "the request is not valid")
        case is CancellationError: ApusError(.shuttingDown, "the server gave this request up", cause: error)
        default: ApusError(.internal, "an error on the server's side; its log has more under this request's id", cause: error)
        }
    }

    static func status(of code: ErrorCode) -> HTTPResponse.Status {
        switch code {
        case .malformed, .unknownMessage, .invalidArgument: .badRequest
        case .unauthenticated: .unauthorized
        case .forbidden, .notMember, .loginRefused: .forbidden
        case .notFound: .notFound
        case .methodNotAllowed: .methodNotAllowed
        case .conflict, .outOfState: .conflict
        case .accountDeleted: .gone
        case .tooLarge: .contentTooLarge
        case .requestTimeout: .requestTimeout
        case .rateLimited: .tooManyRequests
        case .badGateway: .badGateway
        case .gatewayTimeout: .gatewayTimeout
        case .overloaded, .storeUnavailable, .shuttingDown, .unavailable: .serviceUnavailable
        default: .internalServerError
        }
    }

    /// In whole seconds, as the header field has it; 503 always carries one.
    static func retryAfter(_ error: ApusError) -> Int? {
        if let milliseconds = error.retryAfterMilliseconds { return Int((milliseconds + 999) / 1000) }
        return status(of: error.code) == .serviceUnavailable ? 1 : nil
    }
}

/// Turns what handlers throw into problem documents; what nobody expected goes to the log and not to the client.
struct ProblemMiddleware: RouterMiddleware {
    func handle(_ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let known = Problems.publicError(error)
            if Problems.status(of: known.code).code >= 500 {
                context.logger.error("request failed", metadata: ["code": "\(known.code.rawValue)", "error": "\(error)"])
            }
            return try Problems.response(known)
        }
    }
}
