import ApusCore
import ApusProtocol
import NIOCore
import NIOHTTP1

extension S3ObjectStore: MultipartUploads {
    /// S3's own bound.
    public var partBytesMin: Int64 { 5 << 20 }

    public func beginUpload(_ key: ObjectKey, type: String) async throws -> ObjectUpload {
        try ObjectRules.check(type: type)
        let request = S3Client.Request(
            method: .POST, key: key, query: [("uploads", "")], headers: [("content-type", type)], isIdempotent: false)
        guard let id = try XMLReader.read(try await client.document(request).text)["UploadId"], !id.isEmpty else {
            throw ApusError(.storeUnavailable, "the object store does not name the upload")
        }
        return ObjectUpload(key: key, id: id)
    }

    public func uploadPart(_ number: Int, of upload: ObjectUpload, _ body: ObjectBody) async throws -> UploadedPart {
        try ObjectRules.check(partNumber: number)
        try Self.check(upload)
        try ObjectRules.check(body, bytesMax: ObjectRules.partBytesMax)
        let request = S3Client.Request(
            method: .PUT, key: upload.key, query: [("partNumber", String(number)), ("uploadId", upload.id)], body: body)
        guard let tag = try await client.document(request).head.headers.first(name: "etag") else {
            throw ApusError(.storeUnavailable, "the object store does not name the part")
        }
        return UploadedPart(number: number, size: body.size, tag: tag)
    }

    public func completeUpload(_ upload: ObjectUpload, parts: [UploadedPart]) async throws {
        try ObjectRules.check(parts, partBytesMin: partBytesMin)
        try Self.check(upload)
        let list = parts.map { "<Part><PartNumber>\($0.number)</PartNumber><ETag>\(Self.escaped($0.tag))</ETag></Part>" }.joined()
        let body = ObjectBody(ByteBuffer(string: "<CompleteMultipartUpload>\(list)</CompleteMultipartUpload>"))
        // Not repeated: after an answer that was lost the second one would say that there is no such upload.
        let request = S3Client.Request(
            method: .POST, key: upload.key, query: [("uploadId", upload.id)], headers: [("content-type", "application/xml")], body: body,
            isIdempotent: false)
        let answer = try XMLReader.read(try await client.document(request).text)
        guard answer.name != "Error" else {
            // S3 begins with "200 OK" before it knows.
            throw S3Failure(status: 500, code: answer["Code"] ?? "", message: answer["Message"] ?? "").error(skew: nil)
        }
    }

    public func abortUpload(_ upload: ObjectUpload) async throws {
        do {
            try Self.check(upload)
            _ = try await client.document(.init(method: .DELETE, key: upload.key, query: [("uploadId", upload.id)]))
        } catch let error as ApusError where error.code == .notFound {
            // It is over already.
        }
    }

    /// Without an id these requests would be about the object itself.
    private static func check(_ upload: ObjectUpload) throws {
        if upload.id.isEmpty { throw ObjectRules.notFound(upload) }
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}
