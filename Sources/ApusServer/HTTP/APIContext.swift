import ApusCore
import ApusProtocol
import Foundation
import Hummingbird
import Logging
import NIOCore

/// What belongs to one request on its way through the middlewares to its handler.
public struct APIContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    /// Names this request in the log and in the response's `X-Request-Id`.
    public var id: String
    /// What the access token says; set for routes that ask for one.
    public var grant: AccessGrant?
    public var bodyBytesMax: Int
    /// Who asks, as far as is known: the connection's other end, or whom a trusted proxy names. Nil for what is no IP address.
    public var clientAddress: IPAddress?
    /// Whether the client's own connection is encrypted, as far as this listener or a trusted proxy says.
    public var isEncrypted: Bool

    public init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        clientAddress = source.channel.remoteAddress.flatMap(IPAddress.init)
        id = ""
        bodyBytesMax = 0
        isEncrypted = false
    }

    /// The device that asks.
    /// - Throws: ``ApusError`` `forbidden` when a service asks.
    public func device() throws -> (account: AccountID, device: DeviceID) {
        guard case .device(let account, let device) = grant?.subject else {
            throw ApusError(.forbidden, "this is for people's devices, not for services")
        }
        return (account, device)
    }

    /// The account that asks.
    public func account() throws -> AccountID { try device().account }

    /// An id in the path.
    /// - Throws: ``ApusError`` `not_found`: what is no id names nothing.
    public func pathID<Tag>(_ name: String, as type: Identifier<Tag>.Type = Identifier<Tag>.self) throws -> Identifier<Tag> {
        guard let text = coreContext.parameters.get(name), let id = Identifier<Tag>(text) else {
            throw ApusError(.notFound, "there is no such \(name)")
        }
        return id
    }
}

extension Request {
    /// The body, of at most `context.bodyBytesMax`.
    /// - Throws: ``ApusError`` `too_large`.
    func bodyBytes(_ context: APIContext) async throws -> ByteBuffer {
        do {
            return try await body.collect(upTo: context.bodyBytesMax)
        } catch is NIOTooManyBytesError {
            throw ApusError(.tooLarge, "the body has more than \(context.bodyBytesMax) bytes")
        }
    }

    /// - Throws: ``ApusError`` `malformed`, `too_large`.
    func json<Value: Decodable>(_ type: Value.Type, _ context: APIContext) async throws -> Value {
        let bytes = try await bodyBytes(context)
        do {
            return try JSONDecoder().decode(type, from: Data(bytes.readableBytesView))
        } catch let error as DecodingError {
            throw ApusError(.malformed, error.sentence, cause: error)
        }
    }

    /// A number in the query.
    /// - Throws: ``ApusError`` `invalid_argument`.
    func query<Value: LosslessStringConvertible>(_ name: String, as type: Value.Type = Value.self) throws -> Value? {
        guard let text = query(name) else { return nil }
        guard let value = Value(text) else { throw ApusError(.invalidArgument, "\(name) is not valid") }
        return value
    }

    func query(_ name: String) -> String? {
        uri.queryParameters.get(name)
    }

    /// The `limit` of a page.
    /// - Throws: ``ApusError`` `invalid_argument` below 1 or above `max`.
    func limit(default standard: Int, max: Int) throws -> Int {
        let limit = try query("limit", as: Int.self) ?? standard
        guard (1...max).contains(limit) else { throw ApusError(.invalidArgument, "limit is 1 to \(max)") }
        return limit
    }
}

extension Response {
    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var headers = headers
        if headers[.contentType] == nil { headers[.contentType] = "application/json" }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: try encoder.encode(value))))
    }

    static var noContent: Response { Response(status: .noContent) }
}

extension DecodingError {
    /// What is wrong with a document, in words for its author; nothing of its content but the names of keys.
    fileprivate var sentence: String {
        func path(_ keys: [any CodingKey]) -> String { keys.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".") }
        switch self {
        case .keyNotFound(let key, let context): return "\(path(context.codingPath + [key])) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            return context.codingPath.isEmpty ? "the body is not valid JSON of this request" : "\(path(context.codingPath)) is not valid"
        @unknown default: return "the body is not valid"
        }
    }
}
