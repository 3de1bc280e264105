import ApusCore
import AsyncHTTPClient
import NIOCore

/// How a process calls nodes of other roles.
public struct UpstreamConfiguration: Sendable {
    public var policy: BalancingPolicy
    public var breaker: CircuitBreaker.Configuration
    /// Nodes that are tried for one request.
    public var attemptsMax: Int
    /// From the start of an attempt to the head of its answer, where another node can be tried after it.
    public var attemptTimeout: Duration
    /// A body up to this size is held as a whole: an answer, so that it can be asked for again when its node fails in the middle,
    /// and a request, so that it can be sent again. What is larger passes through in pieces.
    public var bufferBytesMax: Int

    public init(
        policy: BalancingPolicy = .roundRobin, breaker: CircuitBreaker.Configuration = .init(), attemptsMax: Int = 3,
        attemptTimeout: Duration = .seconds(5), bufferBytesMax: Int = 65_536
    ) {
        self.policy = policy
        self.breaker = breaker
        self.attemptsMax = attemptsMax
        self.attemptTimeout = attemptTimeout
        self.bufferBytesMax = bufferBytesMax
    }

    /// What an `HTTPClient` for nodes has to be like.
    /// - Parameters:
    ///   - connectionsPerNodeMax: kept to one node; requests beyond wait for one that is free.
    ///   - idleTimeout: between two parts of an answer.
    public static func client(
        connectTimeout: Duration = .seconds(1), idleTimeout: Duration = .seconds(30), connectionsPerNodeMax: Int = 256
    ) -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(connectTimeout), read: TimeAmount(idleTimeout)))
        // Shorter than nodes keep a connection that nobody uses: a request must not meet its end.
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connectionsPerNodeMax
        // Another node is the better second try.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.decompression = .disabled
        configuration.httpVersion = .http1Only
        return configuration
    }
}

/// How the gateway listens and what it lets through.
public struct GatewayConfiguration: Sendable {
    /// Its ``HTTPConfiguration/bodyBytesMax`` is for any path; roles have lower ones. Its ``HTTPConfiguration/requestTimeout`` is
    /// from the header to the answer of a request that does not pass through in pieces.
    public var http: HTTPConfiguration
    public var limits: GatewayLimits
    /// For a body that passes through in pieces, from the header to its end.
    public var transferTimeout: Duration

    public init(
        http: HTTPConfiguration, limits: GatewayLimits = GatewayLimits(), transferTimeout: Duration = .seconds(600)
    ) {
        self.http = http
        self.limits = limits
        self.transferTimeout = transferTimeout
    }
}
