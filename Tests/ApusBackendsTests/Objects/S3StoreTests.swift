import ApusChaos
import ApusCore
import ApusProtocol
import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Testing

@testable import ApusBackends

/// What of S3 is no promise of the port: signed URLs, refusals, outages.
@Suite("S3", .timeLimit(.minutes(3)))
struct S3StoreTests {
    private struct ShiftedClock: WallClock {
        var by: Duration

        var now: Timestamp { SystemClock().now + by }
    }

    @Test(
        "signed URLs do what they say and nothing else; wrong keys, wrong clocks and an outage have errors that say so",
        .enabled(if: Seaweed.isInstalled, "needs `weed`, which `make test` installs"))
    func realServer() async throws {
        try await SeaweedServer.with(program: Seaweed.program) { server in
            let configuration = try Seaweed.configuration(server)
            try await Seaweed.withStore(configuration) { store in
                try await store.check()
                try await signedURLs(store)
            }
            try await refusals(configuration)
            try await outage(server, configuration)
        }
    }

    private func signedURLs(_ store: S3ObjectStore) async throws {
        let key = try #require(ObjectKey("signed/one"))
        let put = try #require(
            try await store.signedURL(for: .put(type: "text/plain; charset=utf-8", size: 5), of: key, lifetime: .seconds(60)))
        func send(_ text: String, type: String = "text/plain; charset=utf-8", to url: String? = nil) async throws -> UInt {
            try await Self.request(.PUT, url ?? put, type: type, body: text).status
        }
        #expect(try await send("other", type: "text/html") == 403)
        #expect(try await send("too long") == 403)
        #expect(try await send("hello", to: put.replacing("signed/one", with: "signed/two")) == 403)
        #expect(try await store.head(key) == nil)
        #expect(try await send("hello") == 200)
        #expect(try await store.head(key)?.type == "text/plain; charset=utf-8")

        let get = try #require(try await store.signedURL(for: .get, of: key, lifetime: .seconds(60)))
        let answer = try await Self.request(.GET, get)
        #expect(answer.status == 200)
        #expect(answer.body == "hello")
        #expect(try await Self.request(.GET, get.replacing("Expires=60", with: "Expires=61")).status == 403)
        #expect(try await Self.request(.DELETE, get).status == 403)
        // As if it had been made two minutes ago.
        try await Seaweed.withStore(store.client.configuration, clock: ShiftedClock(by: .seconds(-120))) { past in
            let expired = try #require(try await past.signedURL(for: .get, of: key, lifetime: .seconds(60)))
            #expect(try await Self.request(.GET, expired).status == 403)
        }
    }

    private func refusals(_ configuration: S3Configuration) async throws {
        var stranger = configuration
        stranger.secretKey = "another secret"
        try await Seaweed.withStore(stranger) { store in
            let error = await #expect(throws: ApusError.self) { try await store.check() }
            #expect(error?.code == .internal)
            #expect(error?.message.contains("keys") == true)
        }
        try await Seaweed.withStore(configuration, clock: ShiftedClock(by: .seconds(-7200))) { store in
            let error = await #expect(throws: ApusError.self) { try await store.check() }
            #expect(error?.code == .internal)
            #expect(error?.message.contains("clock") == true, "\(String(describing: error))")
        }
    }

    private func outage(_ server: SeaweedServer, _ configuration: S3Configuration) async throws {
        await server.process.kill()
        var configuration = configuration
        configuration.timeout = .seconds(1)
        configuration.retryDelay = .milliseconds(1)
        try await Seaweed.withStore(configuration) { store in
            let error = await #expect(throws: ApusError.self) { try await store.check() }
            #expect(error?.code == .storeUnavailable)
        }
    }

    private static func request(
        _ method: HTTPMethod, _ url: String, type: String? = nil, body: String? = nil
    ) async throws -> (status: UInt, body: String) {
        var request = HTTPClientRequest(url: url)
        request.method = method
        if let type { request.headers.add(name: "Content-Type", value: type) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(10))
        return (response.status.code, String(buffer: try await response.body.collect(upTo: 1 << 20)))
    }

    // MARK: Against a server that fails on purpose

    private static let unavailable = FakeS3.Answer(503, "<Error><Code>SlowDown</Code><Message>Please</Message></Error>")

    @Test("a repeatable call is tried again while the store asks for patience, and not for ever")
    func retries() async throws {
        let key = try #require(ObjectKey("k"))
        try await FakeS3.with([Self.unavailable, Self.unavailable, .init(200, "")]) { server, store in
            try await store.put(key, ObjectBody(ByteBuffer(string: "hello")), type: "text/plain")
            #expect(server.requests.map(\.body) == ["hello", "hello", "hello"])
        }
        try await FakeS3.with(Array(repeating: Self.unavailable, count: 9)) { server, store in
            let error = await #expect(throws: ApusError.self) { _ = try await store.head(key) }
            #expect(error?.code == .overloaded)
            #expect(server.requests.count == 4)
        }
    }

    @Test("a call that may not be done twice, and a body that cannot be read twice, are tried once")
    func noRetries() async throws {
        let key = try #require(ObjectKey("k"))
        try await FakeS3.with([Self.unavailable, .init(200, "")]) { server, store in
            let body = ObjectBody(size: 5, ObjectBytes([ByteBuffer(string: "hello")]))
            await #expect(throws: ApusError.self) { try await store.put(key, body, type: "text/plain") }
            #expect(server.requests.count == 1)
        }
        try await FakeS3.with([Self.unavailable, .init(200, "")]) { server, store in
            await #expect(throws: ApusError.self) { _ = try await store.beginUpload(key, type: "text/plain") }
            #expect(server.requests.count == 1)
        }
    }

    @Test("an upload that fails behind the words 200 OK has failed")
    func lateFailure() async throws {
        let upload = ObjectUpload(key: try #require(ObjectKey("k")), id: "u")
        let answer = FakeS3.Answer(200, "<Error><Code>InternalError</Code><Message>oh</Message></Error>")
        try await FakeS3.with([answer]) { _, store in
            let error = await #expect(throws: ApusError.self) {
                try await store.completeUpload(upload, parts: [UploadedPart(number: 1, size: 1, tag: "\"t<&>\"")])
            }
            #expect(error?.code == .storeUnavailable)
        }
    }

    @Test("a store that does not answer, answers nonsense or sends elsewhere is an error in time")
    func nonsense() async throws {
        let key = try #require(ObjectKey("k"))
        let start = ContinuousClock.now
        try await FakeS3.with([.silence], attemptsMax: 1) { _, store in
            let error = await #expect(throws: ApusError.self) { _ = try await store.head(key) }
            #expect(error?.code == .storeUnavailable)
        }
        #expect(ContinuousClock.now - start < .seconds(5))
        for (answer, code) in [
            (FakeS3.Answer(200, "<html>"), ErrorCode.storeUnavailable), (.init(200, "<List><Contents/></List>"), .storeUnavailable),
            (.init(301, ""), .internal),
        ] {
            try await FakeS3.with([answer], attemptsMax: 1) { _, store in
                let error = await #expect(throws: ApusError.self) { _ = try await store.list(prefix: "", after: nil, limit: 1) }
                #expect(error?.code == code)
            }
        }
        // A range that is not the one that was asked for.
        let other = FakeS3.Answer(206, "ab", [("content-range", "bytes 1-2/9"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")])
        try await FakeS3.with([other], attemptsMax: 1) { _, store in
            let error = await #expect(throws: ApusError.self) { _ = try await store.get(key, range: 0..<2) }
            #expect(error?.code == .storeUnavailable)
        }
    }
}
