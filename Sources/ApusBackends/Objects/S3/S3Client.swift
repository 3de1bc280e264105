import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL

/// One bucket over HTTP: signs requests, bounds their time, repeats those that may be, and turns failures into ``ApusError``.
struct S3Client: Sendable {
    struct Request {
        var method: HTTPMethod
        /// Nil: the bucket.
        var key: ObjectKey?
        var query: [(name: String, value: String)] = []
        var headers: [(name: String, value: String)] = []
        var body: ObjectBody?
        /// Whether doing it twice is the same as doing it once.
        var isIdempotent = true
    }

    /// Of answers that are read as a whole: a page of 1,000 keys with its XML is the largest.
    private static let documentBytesMax = 4 << 20
    /// Between two pieces of a body, also when its reader is slow.
    private static let pieceTimeout = TimeAmount.seconds(60)
    private static let bodyBytesPerSecond: Int64 = 64 << 10

    let configuration: S3Configuration
    private let http: HTTPClient
    private let signature: SignatureV4
    private let clock: any WallClock

    init(_ configuration: S3Configuration, clock: any WallClock) throws {
        self.configuration = configuration
        self.clock = clock
        signature = SignatureV4(accessKey: configuration.accessKey, secretKey: configuration.secretKey, region: configuration.region)
        var options = HTTPClient.Configuration()
        options.timeout = .init(connect: TimeAmount(configuration.timeout), read: Self.pieceTimeout)
        options.redirectConfiguration = .disallow
        options.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.connectionsMax
        options.httpVersion = .http1Only
        if let file = configuration.authoritiesFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(file))
            options.tlsConfiguration = tls
        }
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: options)
    }

    func close() async throws { try await http.shutdown() }

    /// Does a request and reads the answer as a whole.
    func document(_ request: Request) async throws -> (head: HTTPClientResponse, text: String) {
        try await withRetries(request) {
            let response = try await once(request)
            let body = try await response.body.collect(upTo: Self.documentBytesMax)
            return (response, String(buffer: body))
        }
    }

    /// Does a request and leaves the body to the caller.
    func response(_ request: Request) async throws -> HTTPClientResponse {
        try await withRetries(request) { try await once(request) }
    }

    /// The body of ``response(_:)``, its failures as ``ApusError``.
    static func bytes(_ response: HTTPClientResponse) -> ObjectBytes {
        let body = response.body
        return ObjectBytes {
            var iterator = body.makeAsyncIterator()
            return {
                do {
                    return try await iterator.next()
                } catch let error as CancellationError {
                    throw error
                } catch {
                    throw ApusError(.storeUnavailable, "the object store broke off", cause: error)
                }
            }
        }
    }

    /// A URL that anybody can use; `headers` are the fields that they must send just so, beside `host`.
    func presigned(_ method: HTTPMethod, _ key: ObjectKey, headers: [(name: String, value: String)], seconds: Int64) -> String {
        let request = SignatureV4.Request(
            method: method.rawValue, path: configuration.path(key.description),
            headers: headers + [("host", configuration.authority)], payloadHash: SignatureV4.unsignedPayload)
        return url(signature.presigned(request, at: clock.now, seconds: seconds))
    }

    // MARK: Inside

    private func url(_ request: SignatureV4.Request) -> String {
        let query = request.canonicalQuery
        return "\(configuration.scheme)://\(configuration.authority)\(URIEscape.path(request.path))\(query.isEmpty ? "" : "?\(query)")"
    }

    private func withRetries<Value>(_ request: Request, _ attempt: () async throws -> Value) async throws -> Value {
        let isRepeatable = request.isIdempotent && request.body?.isRepeatable ?? true
        var delay = configuration.retryDelay
        var attempts = 1
        while true {
            do {
                return try await attempt()
            } catch let error as ApusError where attempts < configuration.attemptsMax && isRepeatable && error.code.isTransient {
                // Between half and all of it, so that many callers do not come back at once.
                try await Task.sleep(for: delay * Double.random(in: 0.5...1))
                delay *= 2
                attempts += 1
            }
        }
    }

    private func once(_ request: Request) async throws -> HTTPClientResponse {
        let now = clock.now
        let payloadHash = payloadHash(request.body)
        let signed =
            request.headers + [
                ("host", configuration.authority), ("x-amz-content-sha256", payloadHash), ("x-amz-date", SignatureV4.dateTime(now)),
            ]
        let canonical = SignatureV4.Request(
            method: request.method.rawValue, path: configuration.path(request.key?.description), query: request.query, headers: signed,
            payloadHash: payloadHash)
        var message = HTTPClientRequest(url: url(canonical))
        message.method = request.method
        for (name, value) in signed { message.headers.replaceOrAdd(name: name, value: value) }
        message.headers.add(name: "authorization", value: signature.authorization(canonical, at: now))
        if let body = request.body {
            message.body = .stream(body.checkedBytes, length: .known(body.size))
        }
        let seconds = (request.body?.size ?? 0) / Self.bodyBytesPerSecond
        let response: HTTPClientResponse
        do {
            response = try await http.execute(message, deadline: .now() + TimeAmount(configuration.timeout) + .seconds(seconds))
        } catch let error as ApusError {
            // Of the body that was to be sent.
            throw error
        } catch let error as CancellationError {
            throw error
        } catch {
            throw ApusError(.storeUnavailable, "the object store does not answer", cause: error)
        }
        guard !(200..<300).contains(response.status.code) else { return response }
        throw await failure(response, at: now)
    }

    /// With the hash the store itself refuses a body that was changed on its way. Over TLS nothing changes it.
    private func payloadHash(_ body: ObjectBody?) -> String {
        guard let body else { return ObjectChecksum(of: ByteBuffer()).description }
        return body.checksum?.description ?? SignatureV4.unsignedPayload
    }

    private func failure(_ response: HTTPClientResponse, at now: Timestamp) async -> ApusError {
        let body = try? await response.body.collect(upTo: 64 << 10)
        let failure = S3Failure(status: Int(response.status.code), body: body.map { String(buffer: $0) } ?? "")
        let theirs = response.headers.first(name: "date").flatMap(HTTPDate.parse)
        let skew = theirs.map { Int(($0.milliseconds - now.milliseconds) / 1000) }
        return failure.error(skew: skew)
    }
}

extension ErrorCode {
    /// Of the errors of ``S3Failure/error(skew:)``: those that may pass by themselves.
    fileprivate var isTransient: Bool { self == .storeUnavailable || self == .overloaded }
}
