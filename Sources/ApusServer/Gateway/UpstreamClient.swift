import ApusCore
import ApusProtocol
import AsyncHTTPClient
import HTTPTypes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import ServiceLifecycle

/// A request to a node of some role.
struct UpstreamRequest: Sendable {
    enum Body: Sendable {
        case none
        case bytes(ByteBuffer)
        case stream(Upload)
    }

    var method: HTTPRequest.Method
    /// Path and query.
    var target: String
    var headers: HTTPHeaders
    var body = Body.none
    /// Doing it twice is doing it once: another node may be tried even when the first one may have done it.
    var isRepeatable: Bool
    /// What `consistent-hash` goes by.
    var key: UInt64?
}

/// What a node answered.
struct UpstreamResponse: Sendable {
    enum Body: Sendable {
        /// All of it.
        case bytes(ByteBuffer)
        /// It comes in pieces; whoever reads it tells the call how it ended.
        case stream(HTTPClientResponse.Body, length: Int?, NodePool.Call)
    }

    var status: Int
    var headers: HTTPHeaders
    var body: Body
}

/// Calls nodes of other roles over HTTP: chooses one of those that the registry names, gives up on what takes too long, leaves
/// nodes alone that fail, and tries another one where that can do no harm.
public final class UpstreamClient: Service {
    private let client: HTTPClient
    private let registry: any NodeRegistry
    private let pools: [Role: NodePool]
    private let configuration: UpstreamConfiguration
    private let certificate: ClusterCertificate?
    private let budget = NIOLockedValueBox(RetryBudget())
    private let logger: Logger

    /// - Parameters:
    ///   - client: with ``UpstreamConfiguration/client(connectTimeout:idleTimeout:connectionsPerNodeMax:)``. Its owner shuts it down, after
    ///     everything that uses this has stopped.
    ///   - roles: that are called.
    ///   - certificate: nil: nodes speak plain HTTP.
    public init(
        client: HTTPClient, registry: any NodeRegistry, roles: Set<Role>, configuration: UpstreamConfiguration = UpstreamConfiguration(),
        certificate: ClusterCertificate? = nil, logger: Logger
    ) {
        self.client = client
        self.registry = registry
        self.configuration = configuration
        self.certificate = certificate
        self.logger = logger
        pools = Dictionary(
            uniqueKeysWithValues: roles.map { ($0, NodePool(role: $0, policy: configuration.policy, breaker: configuration.breaker)) })
    }

    /// Follows the registry until shutdown.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await withDiscardingTaskGroup { group in
                for pool in pools.values {
                    group.addTask { await pool.follow(self.registry) }
                }
            }
        }
    }

    /// For requests that begin from here on.
    public func choose(by policy: BalancingPolicy) {
        for pool in pools.values { pool.choose(by: policy) }
    }

    /// The nodes of a role that it knows and how they are; nil for a role that it does not call.
    public func pool(_ role: Role) -> NodePool? { pools[role] }

    var bufferBytesMax: Int { configuration.bufferBytesMax }

    /// - Parameter deadline: for the head of the answer, and for all of it where it is small.
    /// - Throws: ``ApusError`` `unavailable`, `bad_gateway`, `gateway_timeout`; what the upload threw; `CancellationError`.
    func send(_ request: UpstreamRequest, to role: Role, deadline: ContinuousClock.Instant) async throws -> UpstreamResponse {
        guard let pool = pools[role] else { throw ApusError(.unavailable, "this node does not call \(role.rawValue) nodes") }
        budget.withLockedValue { $0.noteCall() }
        var tried: Set<NodeID> = []
        var call = try pool.begin(key: request.key, at: .now)
        while true {
            tried.insert(call.node.id)
            // Patience that is left when this node does not answer is for another one.
            let hasOthers = request.isRepeatable && tried.count < min(configuration.attemptsMax, pool.nodes.count)
            let patience = hasOthers ? min(deadline, .now + configuration.attemptTimeout) : deadline
            do {
                return try await attempt(request, call, until: patience)
            } catch {
                let failure = UpstreamFailure(error, request)
                call.end(failure.outcome, at: .now)
                guard failure.allowsRetry(of: request), tried.count < configuration.attemptsMax, ContinuousClock.now < deadline,
                    let next = try? pool.begin(key: request.key, excluding: tried, at: .now),
                    budget.withLockedValue({ $0.takeRetry() })
                else { throw failure.error(role) }
                logger.info(
                    "trying another node",
                    metadata: ["role": "\(role.rawValue)", "failed": "\(call.node.id)", "next": "\(next.node.id)", "error": "\(error)"])
                call = next
            }
        }
    }

    private func attempt(
        _ request: UpstreamRequest, _ call: NodePool.Call, until deadline: ContinuousClock.Instant
    ) async throws -> UpstreamResponse {
        guard let address = call.node.http else { throw ApusError(.internal, "a node without an address") }
        var outgoing = HTTPClientRequest(url: "\(certificate == nil ? "http" : "https")://\(address)\(request.target)")
        outgoing.tlsConfiguration = certificate?.clientConfiguration
        outgoing.method = HTTPMethod(rawValue: request.method.rawValue)
        outgoing.headers = request.headers
        switch request.body {
        case .none: break
        case .bytes(let bytes): outgoing.body = .bytes(bytes)
        case .stream(let upload): outgoing.body = .stream(upload.parts, length: upload.length.map { .known(Int64($0)) } ?? .unknown)
        }
        let left = TimeAmount(max(.zero, deadline - .now))
        let response = try await client.execute(outgoing, deadline: .now() + left)
        let length = response.headers.first(name: "Content-Length").flatMap { Int($0) }
        let hasNoBody = request.method == .head || [204, 304].contains(response.status.code) || length == 0
        var answer = UpstreamResponse(status: Int(response.status.code), headers: response.headers, body: .bytes(ByteBuffer()))
        if hasNoBody {
            // The connection goes back to the pool at the end of a body, even an empty one.
            for try await _ in response.body {}
        } else if let length, length <= configuration.bufferBytesMax {
            answer.body = .bytes(try await response.body.collect(upTo: configuration.bufferBytesMax))
        } else {
            answer.body = .stream(response.body, length: length, call)
            return answer
        }
        call.end(.success, at: .now)
        return answer
    }
}
