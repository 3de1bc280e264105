import ApusCore
import ApusProtocol
import Crypto
import Foundation
import JWTKit
import Logging
import NIOCore
import ServiceLifecycle

/// The published keys of the authorization centre as a node without its store knows them: read from its JWKS document now and
/// then, and when a token names a key that is not known. While no auth node answers, the keys at hand stay good.
public actor RemoteKeySet: Service, VerificationKeys {
    private enum LastRead {
        case never
        case good(Timestamp)
        case failed(Timestamp, any Error)

        var at: Timestamp? {
            switch self {
            case .never: nil
            case .good(let at), .failed(let at, _): at
            }
        }
    }

    static let documentBytesMax = 65_536
    private static let keysMax = 100
    /// Between two reads because of an unknown key id, so that invented ids do not become a load.
    private static let unknownKeyPause = Duration.seconds(1)

    private let document: @Sendable () async throws -> ByteBuffer
    private let clock: any WallClock
    private let refreshInterval: Duration
    private let logger: Logger
    /// Nil: none were read yet.
    private var keys: [String: ES256PublicKey]?
    private var lastRead = LastRead.never
    private var reading: Task<Void, Never>?

    /// - Parameter refreshInterval: at most half of the time for which a new key is published before it signs.
    public init(upstreams: UpstreamClient, clock: any WallClock, refreshInterval: Duration = .seconds(60), logger: Logger) {
        self.init(clock: clock, refreshInterval: refreshInterval, logger: logger) { try await upstreams.keySetDocument() }
    }

    /// - Parameter document: gets the JWKS document, in bounded time.
    init(
        clock: any WallClock, refreshInterval: Duration = .seconds(60), logger: Logger,
        document: @escaping @Sendable () async throws -> ByteBuffer
    ) {
        self.clock = clock
        self.refreshInterval = refreshInterval
        self.logger = logger
        self.document = document
    }

    /// Reads the keys again and again until shutdown.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                await refresh()
                // Until there are keys nobody gets in.
                try? await Task.sleep(for: await hasKeys ? refreshInterval : Self.unknownKeyPause)
            }
        }
    }

    /// Whether tokens can be checked.
    public var hasKeys: Bool { keys != nil }

    /// Reads the keys now, or waits for the reading that is under way.
    func refresh() async {
        if let reading { return await reading.value }
        // A task of its own: it is for all that wait, and goes on when the first of them is cancelled. The document's deadline
        // bounds it.
        let task = Task { await read() }
        reading = task
        await task.value
    }

    /// - Throws: ``ApusError`` `unavailable` when it cannot be known whether there is such a key.
    func verificationKey(_ id: String) async throws -> ES256PublicKey? {
        if let key = keys?[id] { return key }
        if reading != nil || lastRead.at.map({ clock.now >= $0 + Self.unknownKeyPause }) ?? true { await refresh() }
        if let key = keys?[id] { return key }
        if case .failed(_, let error) = lastRead {
            throw ApusError(.unavailable, "the keys of access tokens cannot be read now", retryAfterMilliseconds: 1000, cause: error)
        }
        return nil
    }

    private func read() async {
        do {
            keys = try Self.parse(try await document())
            lastRead = .good(clock.now)
        } catch {
            logger.warning("cannot read the published keys", metadata: ["error": "\(error)"])
            lastRead = .failed(clock.now, error)
        }
        reading = nil
    }

    /// The keys that are for us; others may stand beside them.
    static func parse(_ document: ByteBuffer) throws -> [String: ES256PublicKey] {
        struct KeySet: Decodable {
            struct Key: Decodable {
                var kty: String
                var crv: String?
                var kid: String?
                var x: String?
                var y: String?
            }

            var keys: [Key]
        }

        guard document.readableBytes <= documentBytesMax else { throw ApusError(.tooLarge, "the JWKS document is too large") }
        let set = try JSONDecoder().decode(KeySet.self, from: Data(document.readableBytesView))
        var parsed: [String: ES256PublicKey] = [:]
        for key in set.keys.prefix(keysMax) where key.kty == "EC" && key.crv == "P-256" {
            guard let id = key.kid, let x = key.x.flatMap(Base64URL.decode), let y = key.y.flatMap(Base64URL.decode), x.count == 32,
                y.count == 32
            else { throw ApusError(.malformed, "the JWKS document has a key that is not one") }
            parsed[id] = try ES256PublicKey(backing: try P256.Signing.PublicKey(rawRepresentation: x + y))
        }
        guard !parsed.isEmpty else { throw ApusError(.malformed, "the JWKS document has no key of ours") }
        return parsed
    }
}

extension UpstreamClient {
    private static let keySetTimeout = Duration.seconds(5)

    /// The JWKS document of any auth node.
    fileprivate func keySetDocument() async throws -> ByteBuffer {
        let request = UpstreamRequest(method: .get, target: HTTPPath.jwks, headers: ["Accept": "application/json"], isRepeatable: true)
        let answer = try await send(request, to: .auth, deadline: .now + Self.keySetTimeout)
        guard answer.status == 200, case .bytes(let bytes) = answer.body else {
            throw ApusError(.unavailable, "an auth node answered \(answer.status) instead of its keys")
        }
        return bytes
    }
}
