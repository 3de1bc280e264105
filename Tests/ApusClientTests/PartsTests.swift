import ApusProtocol
import Foundation
import NIOCore
import NIOEmbedded
import NIOPosix
import NIOWebSocket
import Testing

@testable import ApusClient

@Suite
struct EventBufferTests {
    private static func typing(_ number: UInt64) -> ClientEvent { .typing(conversation: ConversationID(number), account: testPeer) }

    private static func number(_ event: ClientEvent?) -> UInt64? {
        if case .typing(let conversation, _) = event { conversation.rawValue } else { nil }
    }

    @Test("a consumer that falls behind gets what was buffered, then word of the loss, then what comes next")
    func overflow() async {
        let hub = EventHub(capacity: 3)
        let events = hub.subscribe()
        for number in 1...10 as ClosedRange<UInt64> { hub.emit(Self.typing(number)) }
        var iterator = events.makeAsyncIterator()
        for number in 1...3 as ClosedRange<UInt64> { #expect(Self.number(await iterator.next()) == number) }
        let missed = await iterator.next()
        guard case .missedEvents = missed else {
            Issue.record("\(String(describing: missed)) instead of missedEvents")
            return
        }
        hub.emit(Self.typing(11))
        #expect(Self.number(await iterator.next()) == 11)
    }

    @Test("a slow consumer takes nothing from another one")
    func consumers() async {
        let hub = EventHub(capacity: 2)
        let slow = hub.subscribe()
        let quick = hub.subscribe()
        for number in 1...5 as ClosedRange<UInt64> {
            hub.emit(Self.typing(number))
            var iterator = quick.makeAsyncIterator()
            #expect(Self.number(await iterator.next()) == number)
        }
        var iterator = slow.makeAsyncIterator()
        #expect(Self.number(await iterator.next()) == 1)
    }

    @Test("the end comes after what was buffered, also for whoever subscribes later")
    func finish() async {
        let hub = EventHub(capacity: 2)
        let events = hub.subscribe()
        hub.emit(Self.typing(1))
        hub.finish()
        var iterator = events.makeAsyncIterator()
        #expect(Self.number(await iterator.next()) == 1)
        #expect(await iterator.next() == nil)
        for await _ in hub.subscribe() { Issue.record("an event after the end") }
    }

    @Test("a cancelled consumer stops waiting")
    func cancellation() async {
        let hub = EventHub(capacity: 2)
        let task = Task {
            for await _ in hub.subscribe() {}
        }
        task.cancel()
        await task.value
    }
}

@Suite
struct OutgoingMarksTests {
    @Test("marks of one conversation become one, and wait for their interval unless the user has read something")
    func coalescing() {
        var marks = OutgoingMarks(deliveredInterval: .milliseconds(300))
        for seq in 1...5 as ClosedRange<Seq> { marks.delivered(testConversation, through: seq, .zero) }
        #expect(marks.take(.milliseconds(299), ref: 1).isEmpty)
        #expect(marks.take(.milliseconds(300), ref: 1).map(\.1) == [OutgoingMarks.Mark(read: 0, delivered: 5)])
        #expect(marks.deadline == nil)
        marks.delivered(testConversation, through: 6, .seconds(1))
        marks.read(testConversation, through: 6, .seconds(1))
        #expect(marks.take(.seconds(1), ref: 1).map(\.1) == [OutgoingMarks.Mark(read: 6, delivered: 6)])
    }

    @Test("a read mark that no later answer confirmed is sent again on the next connection")
    func confirmation() {
        var marks = OutgoingMarks(deliveredInterval: nil)
        marks.read(testConversation, through: 3, .zero)
        _ = marks.take(.zero, ref: 8)
        #expect(marks.answered(7).isEmpty)
        marks.disconnected(.zero)
        #expect(marks.take(.zero, ref: 9).map(\.1.read) == [3])
        #expect(marks.answered(9).map(\.1) == [3])
        marks.disconnected(.zero)
        #expect(marks.take(.zero, ref: 10).isEmpty)
    }
}

@Suite
struct LocalStoreTests {
    private static func entries(_ seqs: ClosedRange<Seq>) -> [Entry] {
        seqs.map {
            Entry(
                conversation: testConversation, seq: $0, id: EntryID($0), sender: testPeer, at: Timestamp(milliseconds: 1), kind: .text,
                body: "\($0)")
        }
    }

    @Test("the cursor never jumps over a hole that another client of the directory has yet to fill")
    func cursor() async throws {
        let store = try LocalStore(directory: nil)
        try await store.commit([.deliver(testConversation, after: 0, through: 5, entries: Self.entries(1...5))])
        // One client starts over at 3, another one is at 8 and does not know.
        try await store.commit([.restart(testConversation, first: 3)])
        try await store.commit([.deliver(testConversation, after: 8, through: 9, entries: Self.entries(9...9))])
        #expect(try await store.readers()[testConversation]?.cursor == 2)
        try await store.commit([.deliver(testConversation, after: 2, through: 9, entries: Self.entries(3...9))])
        #expect(try await store.readers()[testConversation]?.cursor == 9)
        #expect(try await store.entries(of: testConversation, from: 1, limit: 100).map(\.seq) == Array(3...9))
    }

    @Test("a head that was stored is a pull to make after a restart")
    func heads() async throws {
        let store = try LocalStore(directory: nil)
        try await store.commit([.head(testConversation, seq: 4, read: 2), .syncToken("token")])
        #expect(try await store.syncToken() == "token")
        var inbox = Inbox(readers: try await store.readers(), backfill: .everything)
        #expect(inbox.connected() == [.pull(testConversation, from: 1)])
    }

    @Test("a message of a name that waits is the same message, with another content it is a conflict")
    func names() async throws {
        let store = try LocalStore(directory: nil)
        let frame = SendFrame(conversation: testConversation, clientID: "a", body: "text")
        guard case .added(let item) = try await store.append(frame, owner: "me"),
            case .present(let same) = try await store.append(frame, owner: "me")
        else {
            Issue.record("added first, present then")
            return
        }
        #expect(item == same)
        let other = SendFrame(conversation: testConversation, clientID: "a", body: "other")
        let error = await #expect(throws: ApusError.self) { try await store.append(other, owner: "me") }
        #expect(error?.code == .conflict)
    }

    @Test("a lock is held by one at a time and given free with its holder, also when its file was removed meanwhile")
    func fileLock() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory.appending(path: "lock").path
            var lock = try FileLock.tryAcquire(path)
            #expect(lock != nil)
            #expect(try FileLock.tryAcquire(path) == nil)
            lock?.removeFile()
            lock = nil
            #expect(try FileLock.tryAcquire(path) != nil)
        }
    }
}

@Suite
struct TransportTests {
    @Test("an https server must give out an encrypted socket, and never gets a token over plain TCP")
    func encryption() throws {
        let https = try #require(URL(string: "https://chat.example"))
        let node = SocketNode(url: "ws://chat.example/v1/socket", tcp: "chat.example:1")
        for transport in ClientConfiguration.Transport.allCases {
            #expect(throws: ApusError.self) { try ServerAddress(node, transport: transport, server: https) }
        }
        let secure = try ServerAddress(SocketNode(url: "wss://chat.example/v1/socket", tcp: nil), transport: .webSocket, server: https)
        #expect(secure.isEncrypted)
        #expect(secure.port == 443)
        let tcp = SocketNode(url: "wss://chat.example/v1/socket", tcp: "chat.example:1", isTCPEncrypted: true)
        #expect(try ServerAddress(tcp, transport: .tcp, server: https).isEncrypted)
    }

    @Test("an answer that says nothing of TLS over TCP means none")
    func olderServer() throws {
        let node = try JSONDecoder().decode(SocketNode.self, from: Data(#"{"url": "ws://h/v1/socket", "tcp": "h:1"}"#.utf8))
        #expect(!node.isTCPEncrypted)
        let json = String(decoding: try JSONEncoder().encode(SocketNode(url: "wss://h", tcp: "h:1", isTCPEncrypted: true)), as: UTF8.self)
        #expect(json.contains(#""tcp_tls":true"#))
    }

    @Test("a file that holds no certificates is no authority: the client is not made")
    func badAuthority() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "apus-ca-\(UUID().uuidString).crt")
        defer { try? FileManager.default.removeItem(at: file) }
        for content in [nil, "", "not a certificate"] {
            if let content { try Data(content.utf8).write(to: file) }
            var configuration = ClientConfiguration(server: try #require(URL(string: "https://chat.example")), storage: .memory)
            configuration.trustRoots = .file(file)
            let error = #expect(throws: ApusError.self) { try Client(configuration: configuration) }
            #expect(error?.code == .invalidArgument)
        }
    }

    @Test("addresses with IPv6 hosts are understood", arguments: ClientConfiguration.Transport.allCases)
    func ipv6(_ transport: ClientConfiguration.Transport) throws {
        let http = try #require(URL(string: "http://[::1]:80"))
        let address = try ServerAddress(SocketNode(url: "ws://[::1]:81/v1/socket", tcp: "[::1]:81"), transport: transport, server: http)
        #expect(address.host == "::1")
        #expect(address.port == 81)
    }

    @Test("a message that arrives byte by byte over TCP is one message; one that is too long ends the connection")
    func lengthPrefix() throws {
        let channel = EmbeddedChannel(handler: ByteToMessageHandler(LengthPrefixHandler(bytesMax: 8)))
        for byte in [0, 0, 0, 3, 1, 2, 3] as [UInt8] { try channel.writeInbound(ByteBuffer(bytes: [byte])) }
        #expect(try channel.readInbound(as: ByteBuffer.self) == ByteBuffer(bytes: [1, 2, 3]))
        #expect(throws: LengthPrefixHandler.TooLong.self) { try channel.writeInbound(ByteBuffer(bytes: [0, 0, 0, 9])) }
        #expect(throws: Never.self) { _ = try channel.finish(acceptAlreadyClosed: true) }
    }

    @Test("a WebSocket message in fragments is one message, a close frame becomes the protocol's close, a ping is answered")
    func webSocketFrames() throws {
        let channel = EmbeddedChannel(handler: WebSocketCarrierHandler(encoding: .protobuf, bytesMax: 8))
        try channel.writeInbound(WebSocketFrame(fin: false, opcode: .binary, data: ByteBuffer(bytes: [1])))
        try channel.writeInbound(WebSocketFrame(fin: true, opcode: .ping, data: ByteBuffer(bytes: [9])))
        try channel.writeInbound(WebSocketFrame(fin: true, opcode: .continuation, data: ByteBuffer(bytes: [2])))
        #expect(try channel.readInbound(as: ByteBuffer.self) == ByteBuffer(bytes: [1, 2]))
        let pong = try #require(try channel.readOutbound(as: WebSocketFrame.self))
        #expect(pong.opcode == .pong)
        #expect(pong.maskKey != nil)
        #expect(pong.data == ByteBuffer(bytes: [9]))
        var code = ByteBuffer()
        code.writeInteger(CloseCode.slowConsumer.rawValue)
        try channel.writeInbound(WebSocketFrame(fin: true, opcode: .connectionClose, data: code))
        let close = try #require(try channel.readInbound(as: ByteBuffer.self))
        guard case .other(let frame) = try FrameEncoding.protobuf.decodeServerFrame(close), case .close(let wire) = frame.body else {
            Issue.record("no close")
            return
        }
        #expect(wire.code == 4100)
        #expect(throws: Never.self) { _ = try channel.finish(acceptAlreadyClosed: true) }
    }

    @Test("a WebSocket message past the limit ends the connection, also in fragments")
    func tooLong() throws {
        let channel = EmbeddedChannel(handler: WebSocketCarrierHandler(encoding: .protobuf, bytesMax: 8))
        try channel.writeInbound(WebSocketFrame(fin: false, opcode: .binary, data: ByteBuffer(repeating: 1, count: 5)))
        #expect(throws: WebSocketCarrierHandler.ProtocolError.messageTooLong) {
            try channel.writeInbound(WebSocketFrame(fin: true, opcode: .continuation, data: ByteBuffer(repeating: 1, count: 4)))
        }
        #expect(throws: Never.self) { _ = try channel.finish(acceptAlreadyClosed: true) }
    }
}

@Suite("Client entry ids")
struct ClientEntryIDTests {
    @Test("A client entry id is a UUID of version 7: time first, version and variant in place")
    func layout() {
        #expect(
            ClientEntryID.next(millisecond: 0x017F_22E2_79B0, random: (0x0CC3, 0x18C4_DC0C_0C07_398F << 2))
                == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
        let ids = (0..<1000).map { _ in ClientEntryID.next() }
        #expect(Set(ids).count == ids.count)
        #expect(ids.allSatisfy { UUID(uuidString: $0) != nil })
    }
}

@Suite("The HTTP API of a server that is not there")
struct UnreachableServerTests {
    @Test("A refused connection is reported at once, not when the deadline has passed")
    func refused() async throws {
        // A port that was free a moment ago.
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        try await listener.close()
        let api = APIClient(server: try #require(URL(string: "http://127.0.0.1:\(port)")), timeout: .seconds(60))
        let took = await ContinuousClock().measure {
            let error = await #expect(throws: ApusError.self) { try await api.call(APIClient.Request(method: .GET, path: "/v1/me")) }
            #expect(error?.code == .unreachable)
        }
        #expect(took < .seconds(20))
    }
}
