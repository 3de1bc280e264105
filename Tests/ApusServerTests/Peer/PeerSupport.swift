import ApusCore
import ApusProtocol
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import ServiceLifecycle
import Testing

@testable import ApusServer

let quietLogger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// Runs services until `body` returns, and stops them in the reverse order.
func running(_ services: [any Service], _ body: @Sendable () async throws -> Void) async throws {
    let group = ServiceGroup(services: services, logger: quietLogger)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { try await group.run() }
        do {
            try await body()
        } catch {
            await group.triggerGracefulShutdown()
            throw error
        }
        await group.triggerGracefulShutdown()
        try await tasks.waitForAll()
    }
}

/// For what has no event to wait for. Ends with the time limit of the test.
func eventually(_ condition: () async throws -> Bool) async throws {
    while try await !condition() {
        try Task.checkCancellation()
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// A registry that knows what the test says.
final class FakeRegistry: NodeRegistry {
    private struct State {
        var nodes: [NodeInfo] = []
        var watchers: [Int: AsyncStream<[NodeInfo]>.Continuation] = [:]
        var lastWatcher = 0
    }

    private let state = NIOLockedValueBox(State())

    func set(_ nodes: [NodeInfo]) {
        state.withLockedValue { state in
            state.nodes = nodes
            for watcher in state.watchers.values { watcher.yield(nodes) }
        }
    }

    func register(_ node: NodeInfo) async throws { set(state.withLockedValue { $0.nodes } + [node]) }
    func deregister() async throws {}

    func nodes() -> AsyncStream<[NodeInfo]> {
        AsyncStream { continuation in
            let id = state.withLockedValue { state in
                state.lastWatcher += 1
                state.watchers[state.lastWatcher] = continuation
                continuation.yield(state.nodes)
                return state.lastWatcher
            }
            continuation.onTermination = { _ in self.state.withLockedValue { $0.watchers[id] = nil } }
        }
    }
}

func socketNode(_ id: NodeID, _ peer: NetworkAddress) -> NodeInfo { NodeInfo(id: id, roles: [.socket], peer: peer, version: "test") }

/// Knows the tokens that the test made up.
struct FakeVerifier: TokenVerifier {
    var grants: [String: AccessGrant] = [
        "internal": grant(.client("node"), ["internal"]),
        "service": grant(.client("report"), ["user"]),
        "person": grant(.device(AccountID(1), DeviceID(1)), ["internal"]),
    ]

    static func grant(_ subject: AccessGrant.Subject, _ scopes: Set<String>) -> AccessGrant {
        AccessGrant(subject: subject, scopes: scopes, expiresAt: Timestamp(milliseconds: .max))
    }

    func verify(accessToken: String) async throws -> AccessGrant {
        if accessToken == "busy" { throw ApusError(.storeUnavailable, "no keys") }
        guard let grant = grants[accessToken] else { throw ApusError(.unauthenticated, "the access token is not valid") }
        return grant
    }
}

/// Gives out tokens one after the other; the next one when one was refused.
actor FakeTokens: PeerTokenSource {
    private var tokens: [String]

    init(_ tokens: [String] = ["internal"]) { self.tokens = tokens }

    func accessToken() async throws -> String { tokens[0] }
    func refused(_ accessToken: String) async { if tokens.count > 1 { tokens.removeFirst() } }
}

/// Keeps what arrives.
final class FakeReceiver: RelayReceiver {
    private let received: AsyncStream<String>
    private let continuation: AsyncStream<String>.Continuation
    private let total = NIOLockedValueBox(0)

    init() { (received, continuation) = AsyncStream.makeStream() }

    var count: Int { total.withLockedValue { $0 } }

    func receive(_ batch: [RelayMessage], from node: NodeID) {
        total.withLockedValue { $0 += batch.count }
        for case .entry(let entry, _, _) in batch { continuation.yield("\(node)/\(entry.seq)") }
    }

    func next(_ count: Int) async -> [String] {
        var found: [String] = []
        for await line in received {
            found.append(line)
            if found.count == count { break }
        }
        return found
    }
}

func relayed(_ seq: Seq, body: String = "x") -> RelayMessage {
    .entry(
        Entry(
            conversation: ConversationID(1), seq: seq, id: EntryID(seq), sender: AccountID(1), at: Timestamp(milliseconds: 1), kind: .text,
            body: body), to: .accounts([AccountID(2)]), isDuplicate: false)
}

/// A TCP connection of length-prefixed messages that says what it is told, right or wrong.
final class RawSocket: Sendable {
    enum Received: Sendable {
        case message(ByteBuffer)
        case ended
    }

    /// The channel is loop-bound; it is only written to and closed from here.
    private let channel: any Channel
    private let received: AsyncStream<Received>

    init(_ address: NetworkAddress) async throws {
        let (stream, continuation) = AsyncStream.makeStream(of: Received.self)
        received = stream
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RawHandler(inbox: continuation))
                }
            }
            .connect(host: address.host, port: address.port).get()
    }

    /// What was closed meanwhile is no error of the test: it reads the close next.
    func send(_ bytes: ByteBuffer) async {
        var out = ByteBuffer(integer: UInt32(bytes.readableBytes))
        out.writeImmutableBuffer(bytes)
        _ = try? await channel.writeAndFlush(out).get()
    }

    func next() async -> Received {
        for await received in received { return received }
        return .ended
    }

    func close() async { _ = try? await channel.close().get() }
}

private final class RawHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let inbox: AsyncStream<RawSocket.Received>.Continuation
    private var parser = LengthPrefixParser(messageBytesMax: 1 << 24)

    init(inbox: AsyncStream<RawSocket.Received>.Continuation) { self.inbox = inbox }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        parser.feed(unwrapInboundIn(data))
        while case .message(let message) = parser.next() { inbox.yield(.message(message)) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        inbox.yield(.ended)
        inbox.finish()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
