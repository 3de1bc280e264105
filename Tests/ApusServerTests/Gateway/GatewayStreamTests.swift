import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Foundation
import Hummingbird
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import Testing

@testable import ApusServer

/// How much memory this process came to hold beyond what it had at first. What waits in sockets is the kernel's and does not
/// count.
private final class MemoryPeak: Sendable {
    private let state = NIOLockedValueBox((first: MemoryPeak.residentBytes, growth: 0))

    var growth: Int { state.withLockedValue { $0.growth } }

    func sample() {
        let now = Self.residentBytes
        state.withLockedValue { $0.growth = max($0.growth, now - $0.first) }
    }

    /// Always 0 where there is no /proc: the bound is checked on Linux only.
    private static var residentBytes: Int {
        guard let fields = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " "), fields.count > 1 else {
            return 0
        }
        return (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}

/// 64 kB pieces whose bytes say where they are, made when they are asked for.
private struct Pieces: AsyncSequence, Sendable {
    static let size = 65_536
    var count: Int

    struct Iterator: AsyncIteratorProtocol {
        var pieces: Pieces
        var next = 0

        mutating func next() async throws -> ByteBuffer? {
            guard next < pieces.count else { return nil }
            defer { next += 1 }
            return ByteBuffer(repeating: UInt8(truncatingIfNeeded: next), count: Pieces.size)
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(pieces: self) }
}

/// Checks that the pieces come whole and in order.
private struct PieceReader {
    private(set) var bytes = 0
    private(set) var isIntact = true

    mutating func read(_ part: ByteBuffer) {
        var part = part
        while part.readableBytes > 0, let next = part.readSlice(length: min(part.readableBytes, Pieces.size - bytes % Pieces.size)) {
            let expected = ByteBuffer(repeating: UInt8(truncatingIfNeeded: bytes / Pieces.size), count: next.readableBytes)
            if next != expected { isIntact = false }
            bytes += next.readableBytes
        }
    }
}

@Suite("Gateway: bodies that pass through")
struct GatewayStreamTests {
    /// 200 MB. The sockets on the way hold up to 72 MB of it; the rest would be in the gateway's memory if it were not held back.
    private static let pieces = 3050
    /// Far less than that, and more than what allocators keep of memory that was freed.
    private static let growthMax = 60_000_000

    @Test("200 MB go up to a slow node with bounded memory and arrive whole", arguments: [true, false])
    func upload(lengthIsKnown: Bool) async throws {
        let memory = MemoryPeak()
        let result = NIOLockedValueBox(PieceReader())
        let node = StubNode(number: 1) { request, _ in
            var (reader, paused) = (PieceReader(), 0)
            for try await part in request.body {
                reader.read(part)
                // Slower than the client: what is not held back would pile up on the way.
                if reader.bytes / 1_000_000 > paused {
                    paused += 1
                    memory.sample()
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            let final = reader
            result.withLockedValue { $0 = final }
            return .noContent
        }
        try await GatewayHarness.run([node]) { gateway in
            // Not by the HTTP client, which writes ahead while its event loop has no time: its memory is not what is measured.
            let answer = try await Self.send(gateway.port, lengthIsKnown: lengthIsKnown)
            #expect(answer.hasPrefix("HTTP/1.1 204 "), "\(answer)")
        }
        let reader = result.withLockedValue { $0 }
        #expect(reader.bytes == Self.pieces * Pieces.size && reader.isIntact)
        #expect(memory.growth < Self.growthMax, "\(memory.growth)")
    }

    /// Returns what comes back first.
    private static func send(_ port: Int, lengthIsKnown: Bool) async throws -> String {
        let client = try await RawClient.connect(port)
        return try await client.executeThenClose { inbound, _ in
            let head = "POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\n"
            try await write(head, lengthIsKnown: lengthIsKnown, to: client.channel)
            for try await part in inbound { return String(buffer: part) }
            return ""
        }
    }

    /// A head and all pieces, each when the kernel has taken the one before: NIO and the HTTP client write ahead while their event
    /// loop has no time, and it is not their memory that is measured.
    private static func write(_ head: String, lengthIsKnown: Bool, to channel: any Channel) async throws {
        let framing = lengthIsKnown ? "Content-Length: \(pieces * Pieces.size)" : "Transfer-Encoding: chunked"
        try await channel.writeAndFlush(ByteBuffer(string: head + framing + "\r\n\r\n"))
        for try await piece in Pieces(count: pieces) {
            var bytes = piece
            if !lengthIsKnown {
                bytes = ByteBuffer(string: String(Pieces.size, radix: 16) + "\r\n")
                bytes.writeImmutableBuffer(piece)
                bytes.writeString("\r\n")
            }
            try await channel.writeAndFlush(bytes)
        }
        if !lengthIsKnown { try await channel.writeAndFlush(ByteBuffer(string: "0\r\n\r\n")) }
    }

    @Test("200 MB come down to a slow client with bounded memory and arrive whole", arguments: [true, false])
    func download(lengthIsKnown: Bool) async throws {
        let memory = MemoryPeak()
        try await RawServer.run(
            { inbound, _, channel in
                var requests = inbound.makeAsyncIterator()
                _ = try await requests.next()
                try await Self.write("HTTP/1.1 200 OK\r\n", lengthIsKnown: lengthIsKnown, to: channel)
                // Until the gateway closes.
                while try await requests.next() != nil {}
            },
            { server in
                try await GatewayHarness.run([.at(server.address, number: 1)]) { gateway in
                    var request = HTTPClientRequest(url: gateway.url + HTTPPath.account)
                    request.headers.add(name: "Authorization", value: "Bearer token-7")
                    let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
                    var (reader, paused) = (PieceReader(), 0)
                    for try await part in response.body {
                        reader.read(part)
                        if reader.bytes / 1_000_000 > paused {
                            paused += 1
                            memory.sample()
                            try await Task.sleep(for: .milliseconds(5))
                        }
                    }
                    #expect(reader.bytes == Self.pieces * Pieces.size && reader.isIntact)
                }
            })
        #expect(memory.growth < Self.growthMax, "\(memory.growth)")
    }

    @Test("A body over the gateway's limit is refused, announced or not")
    func tooLarge() async throws {
        var options = GatewayHarness.Options()
        options.gateway.http.bodyBytesMax = 100_000
        let node = StubNode(number: 1) { request, _ in
            for try await _ in request.body {}
            return .noContent
        }
        try await GatewayHarness.run([node], options) { gateway in
            for length in [HTTPClientRequest.Body.Length.known(Int64(2 * Pieces.size)), .unknown] {
                let answer = try await gateway.request(
                    .POST, HTTPPath.conversations, body: .stream(Pieces(count: 2), length: length))
                #expect((answer.status, try answer.problem().code) == (413, .tooLarge))
            }
            #expect(gateway.breaker(1, .web) == .closed)
        }
    }

    @Test("An answer that comes before the end of the body reaches the client, and the connection ends")
    func earlyAnswer() async throws {
        let node = StubNode(number: 1) { _, _ in throw ApusError(.forbidden, "not for you") }
        try await GatewayHarness.run([node]) { gateway in
            let answer = try await RawClient.exchange(
                gateway.port,
                "POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\nContent-Length: 1000000\r\n\r\nfirst part")
            #expect(answer.hasPrefix("HTTP/1.1 403 "), "\(answer)")
            #expect(answer.lowercased().contains("connection: close"))
        }
    }

    @Test("A node that dies in the middle of a large answer ends the client's connection: half an answer must not look whole")
    func brokenDownload() async throws {
        try await RawServer.run(
            { inbound, outbound, _ in
                var requests = inbound.makeAsyncIterator()
                _ = try await requests.next()
                try await outbound.write(ByteBuffer(string: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
            },
            { server in
                var options = GatewayHarness.Options()
                options.upstream.breaker = .init(volumeMin: 1)
                try await GatewayHarness.run([.at(server.address, number: 1)], options) { gateway in
                    let answer = try await RawClient.exchange(
                        gateway.port, "GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\n\r\n")
                    #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.contains("hello") && !answer.hasSuffix("0\r\n\r\n"))
                    #expect(gateway.breaker(1) == .open)
                }
            })
    }

    @Test("A client that does not read its answer loses its connection, and the node is not held up any longer")
    func slowReader() async throws {
        let ended = AsyncStream.makeStream(of: Void.self)
        let node = StubNode(number: 1) { _, _ in
            Response(
                status: .ok,
                body: ResponseBody { writer in
                    defer { ended.continuation.finish() }
                    for try await piece in Pieces(count: 10_000) { try await writer.write(piece) }
                    try await writer.finish(nil)
                })
        }
        var options = GatewayHarness.Options()
        options.gateway.http.idleTimeout = .milliseconds(300)
        try await GatewayHarness.run([node], options) { gateway in
            try await RawClient.connect(gateway.port).executeThenClose { _, outbound in
                try await outbound.write(
                    ByteBuffer(string: "GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\n\r\n"))
                for await _ in ended.stream {}
            }
        }
    }

    @Test("A client that goes in the middle of its body is no failure of the node, which does not take the half for the whole")
    func brokenUpload() async throws {
        let outcome = AsyncStream.makeStream(of: Bool.self)
        let node = StubNode(number: 1) { request, _ in
            do {
                for try await _ in request.body {}
                outcome.continuation.yield(true)
            } catch { outcome.continuation.yield(false) }
            outcome.continuation.finish()
            return .noContent
        }
        var options = GatewayHarness.Options()
        options.upstream.breaker = .init(volumeMin: 1)
        try await GatewayHarness.run([node], options) { gateway in
            try await RawClient.connect(gateway.port).executeThenClose { _, outbound in
                try await outbound.write(
                    ByteBuffer(
                        string:
                            "POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-7\r\nTransfer-Encoding: chunked\r\n\r\n"
                            + "5\r\nhello\r\n"))
            }
            var wholes: [Bool] = []
            for await whole in outcome.stream { wholes.append(whole) }
            #expect(wholes == [false])
            #expect(gateway.breaker(1, .web) == .closed)
        }
    }
}
