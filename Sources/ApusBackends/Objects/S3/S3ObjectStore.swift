import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// Objects in a bucket of S3, or of what speaks like it: MinIO, SeaweedFS, Ceph. The bucket exists already.
///
/// Durable as the store is. A call that changes nothing when it is done twice is tried again some times, with growing pauses.
public final class S3ObjectStore: ObjectStore {
    /// Where S3 keeps what it does not know of itself; absent after an upload in parts or from elsewhere.
    static let checksumHeader = "x-amz-meta-sha256"

    let client: S3Client

    /// Opens no connection yet. Whoever makes one closes it in the end.
    /// - Throws: ``ApusError`` `invalid_argument` when the certificate authorities cannot be read.
    public init(_ configuration: S3Configuration, clock: any WallClock = SystemClock()) throws {
        do {
            client = try S3Client(configuration, clock: clock)
        } catch {
            throw ApusError(.invalidArgument, "the certificate authorities for the object store cannot be read", cause: error)
        }
    }

    /// Ends its connections.
    public func close() async throws { try await client.close() }

    /// Whether the bucket answers to our keys.
    /// - Throws: ``ApusError`` with what keeps it from it.
    public func check() async throws { _ = try await client.document(.init(method: .GET, query: [("list-type", "2"), ("max-keys", "1")])) }

    public func put(_ key: ObjectKey, _ body: ObjectBody, type: String) async throws {
        try ObjectRules.check(type: type)
        try ObjectRules.check(body)
        var headers = [(name: "content-type", value: type)]
        if let checksum = body.checksum { headers.append((Self.checksumHeader, checksum.description)) }
        _ = try await client.document(.init(method: .PUT, key: key, headers: headers, body: body))
    }

    public func get(_ key: ObjectKey, range: Range<Int64>?) async throws -> StoredObject {
        var headers: [(name: String, value: String)] = []
        if let range {
            guard !range.isEmpty, range.lowerBound >= 0 else { throw ObjectRules.unsatisfiable(range) }
            headers.append(("range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)"))
        }
        let response = try await client.response(.init(method: .GET, key: key, headers: headers))
        let length = try Self.length(response)
        guard let range else {
            let info = try Self.info(response, size: length)
            return StoredObject(info: info, range: 0..<length, body: S3Client.bytes(response))
        }
        let (part, size) = try Self.contentRange(response)
        guard part.lowerBound == range.lowerBound, part.count == length else {
            throw ApusError(.storeUnavailable, "the object store answers with other bytes than those asked for")
        }
        return StoredObject(info: try Self.info(response, size: size), range: part, body: S3Client.bytes(response))
    }

    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        do {
            let response = try await client.response(.init(method: .HEAD, key: key))
            return try Self.info(response, size: try Self.length(response))
        } catch let error as ApusError where error.code == .notFound {
            return nil
        }
    }

    public func delete(_ key: ObjectKey) async throws {
        do {
            _ = try await client.document(.init(method: .DELETE, key: key))
        } catch let error as ApusError where error.code == .notFound {
            // Some stores say so; it is gone either way.
        }
    }

    public func list(prefix: String, after cursor: String?, limit: Int) async throws -> ObjectPage {
        try ObjectRules.check(prefix: prefix, limit: limit)
        var query = [(name: "list-type", value: "2"), ("max-keys", String(limit)), ("prefix", prefix)]
        if let cursor { query.append(("continuation-token", cursor)) }
        let document = try XMLReader.read(try await client.document(.init(method: .GET, query: query)).text)
        let items = try document.children.filter { $0.name == "Contents" }.compactMap { element -> ObjectPage.Item? in
            guard let name = element["Key"], let size = element["Size"].flatMap({ Int64($0) }),
                let time = element["LastModified"].flatMap(S3Date.parse)
            else { throw ApusError(.storeUnavailable, "the object store's list cannot be read") }
            // What is no key of ours came from elsewhere.
            return ObjectKey(name).map { ObjectPage.Item(key: $0, size: size, modifiedAt: time) }
        }
        let isTruncated = document["IsTruncated"] == "true"
        return ObjectPage(items: items, next: isTruncated ? document["NextContinuationToken"] : nil)
    }

    public func signedURL(for access: ObjectAccess, of key: ObjectKey, lifetime: Duration) async throws -> String? {
        try ObjectRules.check(access, lifetime: lifetime)
        let seconds = lifetime.components.seconds
        switch access {
        case .get: return client.presigned(.GET, key, headers: [], seconds: seconds)
        case .put(let type, let size):
            let headers = [(name: "content-length", value: String(size)), ("content-type", type)]
            return client.presigned(.PUT, key, headers: headers, seconds: seconds)
        }
    }

    // MARK: What an answer says

    private static func length(_ response: HTTPClientResponse) throws -> Int64 {
        guard let length = response.headers.first(name: "content-length").flatMap({ Int64($0) }), length >= 0 else {
            throw ApusError(.storeUnavailable, "the object store does not say how long the object is")
        }
        return length
    }

    private static func info(_ response: HTTPClientResponse, size: Int64) throws -> ObjectInfo {
        guard let time = response.headers.first(name: "last-modified").flatMap(HTTPDate.parse) else {
            throw ApusError(.storeUnavailable, "the object store does not say how old the object is")
        }
        return ObjectInfo(
            size: size, type: response.headers.first(name: "content-type") ?? "application/octet-stream",
            checksum: response.headers.first(name: checksumHeader).flatMap(ObjectChecksum.init), modifiedAt: time)
    }

    /// `bytes 0-9/443`: the bytes, and of how many.
    private static func contentRange(_ response: HTTPClientResponse) throws -> (Range<Int64>, Int64) {
        let text = response.headers.first(name: "content-range") ?? ""
        let numbers = text.split(whereSeparator: { " -/".contains($0) }).dropFirst().compactMap { Int64($0) }
        guard response.status == .partialContent, text.hasPrefix("bytes "), numbers.count == 3, numbers[0] <= numbers[1],
            numbers[1] < numbers[2]
        else { throw ApusError(.storeUnavailable, "the object store does not say which bytes it sends") }
        return (numbers[0]..<(numbers[1] + 1), numbers[2])
    }
}
