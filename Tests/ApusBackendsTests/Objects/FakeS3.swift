import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix

@testable import ApusBackends

/// A server that gives the answers it was told to give, one after the other, and keeps what it was asked.
final class FakeS3: Sendable {
    struct Answer: Sendable {
        var status: Int
        var body: String
        var headers: [(String, String)]

        init(_ status: Int, _ body: String, _ headers: [(String, String)] = []) {
            self.status = status
            self.body = body
            self.headers = headers
        }

        /// Takes the request and says nothing.
        static let silence = Answer(0, "")
    }

    struct Request: Sendable {
        var head: HTTPRequestHead
        var body = ""
    }

    private let answers: NIOLockedValueBox<[Answer]>
    private let received = NIOLockedValueBox<[Request]>([])

    var requests: [Request] { received.withLockedValue { $0 } }

    private init(_ answers: [Answer]) { self.answers = NIOLockedValueBox(answers) }

    static func with(
        _ answers: [Answer], attemptsMax: Int = 4, _ body: (FakeS3, S3ObjectStore) async throws -> Void
    ) async throws {
        let server = FakeS3(answers)
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = try S3Configuration(
            endpoint: "http://127.0.0.1:\(listener.localAddress?.port ?? 0)", bucket: "bucket", accessKey: "a", secretKey: "s")
        configuration.timeout = .seconds(1)
        configuration.retryDelay = .milliseconds(1)
        configuration.attemptsMax = attemptsMax
        try await Seaweed.withStore(configuration) { try await body(server, $0) }
        try await listener.close()
    }

    private func answer(_ request: Request) -> Answer {
        received.withLockedValue { $0.append(request) }
        return answers.withLockedValue { $0.isEmpty ? Answer(500, "nothing was planned") : $0.removeFirst() }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let server: FakeS3
        private var request: Request?

        init(_ server: FakeS3) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): request = Request(head: head)
            case .body(let buffer): request?.body += String(buffer: buffer)
            case .end:
                guard let request else { return }
                let answer = server.answer(request)
                guard answer.status > 0 else { return }
                var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
                for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
                head.headers.add(name: "content-length", value: String(answer.body.utf8.count))
                context.write(wrapOutboundOut(.head(head)), promise: nil)
                // RFC 9110 section 9.3.2: bytes after the answer to a HEAD would be taken for the next answer.
                if request.head.method != .HEAD {
                    context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil)
                }
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            }
        }
    }
}
