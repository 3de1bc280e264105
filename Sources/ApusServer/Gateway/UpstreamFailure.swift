import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOPosix
import NIOSSL

/// Why there is no answer, in three kinds that matter: whether the node has seen the request, whether it is the node's fault, and
/// what the client is told.
enum UpstreamFailure {
    /// It never got there.
    case notSent(any Error)
    case brokenOff(any Error)
    case timedOut(any Error)
    /// It was this side that ended it: the client went, or sent what it must not.
    case givenUp(any Error)

    init(_ error: any Error, _ request: UpstreamRequest) {
        switch error {
        case let error as UploadFailure: self = .givenUp(error.reason)
        case is CancellationError: self = .givenUp(error)
        case is NIOConnectionError, ChannelError.connectTimeout, NIOSSLError.handshakeFailed: self = .notSent(error)
        // What a connect to an address fails with; on a connection that is up these do not come.
        case let error as IOError where [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH].contains(error.errnoCode): self = .notSent(error)
        case let error as HTTPClientError:
            switch error {
            case .cancelled where Task.isCancelled: self = .givenUp(CancellationError())
            case .connectTimeout, .getConnectionFromPoolTimeout, .tlsHandshakeTimeout: self = .notSent(error)
            case .invalidURL, .emptyHost: self = .givenUp(ApusError(.malformed, "the path is not valid", cause: error))
            case .deadlineExceeded, .readTimeout:
                // An upload that took too long may be the client's slowness as well as the node's.
                if case .stream = request.body {
                    self = .givenUp(ApusError(.gatewayTimeout, "the request took too long", cause: error))
                } else {
                    self = .timedOut(error)
                }
            default: self = .brokenOff(error)
            }
        default: self = .brokenOff(error)
        }
    }

    var outcome: CircuitBreaker.Outcome {
        switch self {
        case .notSent, .brokenOff, .timedOut: .failure
        case .givenUp: .abandoned
        }
    }

    func allowsRetry(of request: UpstreamRequest) -> Bool {
        switch self {
        // Not even an upload has begun: it waits for a connection.
        case .notSent: true
        case .brokenOff, .timedOut: request.isRepeatable
        case .givenUp: false
        }
    }

    func error(_ role: Role) -> any Error {
        switch self {
        case .notSent(let cause):
            ApusError(.unavailable, "no \(role.rawValue) node can be reached", retryAfterMilliseconds: 1000, cause: cause)
        case .brokenOff(let cause): ApusError(.badGateway, "the \(role.rawValue) node broke off", cause: cause)
        case .timedOut(let cause): ApusError(.gatewayTimeout, "the \(role.rawValue) node did not answer in time", cause: cause)
        case .givenUp(let error): error
        }
    }
}
