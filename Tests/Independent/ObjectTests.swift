import ApusBackends
import ApusChaos
import ApusCore
import AsyncHTTPClient
import Foundation
import NIOCore
import Testing

extension IndependentTests {
    private struct SignedURLs: Decodable {
        var get: String
        var put: String
    }

    @Test("boto3 and our S3 client read what the other one wrote and use what the other one signed")
    func objects() async throws {
        try await SeaweedServer.with(program: python.deletingLastPathComponent().appending(path: "weed").path) { server in
            let store = try S3ObjectStore(
                S3Configuration(
                    endpoint: server.endpoint, bucket: SeaweedServer.bucket, accessKey: SeaweedServer.accessKey,
                    secretKey: SeaweedServer.secretKey))
            do {
                try await tellObjects(store, server)
            } catch {
                try await store.close()
                throw error
            }
            try await store.close()
        }
    }

    private func tellObjects(_ store: S3ObjectStore, _ server: SeaweedServer) async throws {
        func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }
        try await store.put(try key("ours/put"), ObjectBody(ByteBuffer(string: "put by us")), type: "text/plain")
        let upload = try await store.beginUpload(try key("ours/parts"), type: "video/mp4")
        let first = try await store.uploadPart(1, of: upload, ObjectBody(ByteBuffer(repeating: UInt8(ascii: "a"), count: 5 << 20)))
        let last = try await store.uploadPart(2, of: upload, ObjectBody(ByteBuffer(string: "b")))
        try await store.completeUpload(upload, parts: [first, last])
        let put = try #require(
            try await store.signedURL(for: .put(type: "image/png", size: 6), of: try key("ours/signed"), lifetime: .seconds(60)))
        let get = try #require(try await store.signedURL(for: .get, of: try key("theirs/put"), lifetime: .seconds(60)))

        let arguments = [server.endpoint, SeaweedServer.bucket, SeaweedServer.accessKey, SeaweedServer.secretKey, put, get]
        let result = try await Command.run(
            python, ["-B", directory.appending(path: "objects.py").path] + arguments, timeout: .seconds(120))
        try #require(result.exit == .code(0), "\(result.output)\n\(result.errors)")
        #expect(result.output.hasSuffix("done\n"))

        let line = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("{") })
        let urls = try JSONDecoder().decode(SignedURLs.self, from: Data(line.utf8))
        let answer = try await HTTPClient.shared.execute(HTTPClientRequest(url: urls.get), timeout: .seconds(10))
        #expect(String(buffer: try await answer.body.collect(upTo: 1000)) == "put by us")
        var request = HTTPClientRequest(url: urls.put)
        request.method = .PUT
        request.body = .bytes(ByteBuffer(string: "signed by boto3"))
        #expect(try await HTTPClient.shared.execute(request, timeout: .seconds(10)).status == .ok)
        let signed = try await store.get(try key("theirs/signed"), range: 10..<15)
        #expect(String(buffer: try await signed.body.collect(upTo: 100)) == "boto3")

        let large = try await store.get(try key("theirs/parts"), range: nil)
        #expect(large.info.type == "video/mp4")
        #expect(try await large.body.collect(upTo: 16 << 20) == ByteBuffer(repeating: UInt8(ascii: "x"), count: 12 << 20))
        #expect(try await store.list(prefix: "theirs/", after: nil, limit: 10).items.map(\.size) == [12 << 20, 12, 15])
    }
}
