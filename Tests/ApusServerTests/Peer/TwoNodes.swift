import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import ServiceLifecycle
import Testing

@testable import ApusServer

/// A relay that can be switched off.
struct SwitchedRelay: Relay {
    let relay: any Relay
    let isOn: NIOLockedValueBox<Bool>
    /// Batches that came while it was off.
    let dropped: NIOLockedValueBox<Int>

    func send(_ batch: [RelayMessage], to node: NodeID) { pass { relay.send(batch, to: node) } }
    func sendToAll(_ batch: [RelayMessage]) { pass { relay.sendToAll(batch) } }

    private func pass(_ send: () -> Void) {
        if isOn.withLockedValue({ $0 }) { send() } else { dropped.withLockedValue { $0 += 1 } }
    }
}

/// A socket node as a whole: all that a process with that role has, over a store that it shares with others.
struct ClusterNode: Sendable {
    let id: NodeID
    let sequencer: Sequencer
    let sessions: ClusterSessionControl
    let relay: PeerRelay
    let listener: PeerListener
    let role: SocketRole
    let services: [any Service]

    init(_ id: NodeID, _ cluster: TwoNodes) throws {
        self.id = id
        let (store, options) = (cluster.store, cluster.options)
        let group = MultiThreadedEventLoopGroup.singleton
        let clock = SystemClock()
        let ids = IDGenerator(node: id.number, clock: clock)
        let loopback = NetworkAddress(host: "127.0.0.1", port: 0)
        let peers = PeerConfiguration(listen: loopback)
        let hub = SessionHub()
        relay = PeerRelay(
            configuration: peers, node: id, registry: cluster.registry, tokens: FakeTokens(), group: group, logger: quietLogger)
        let switched = SwitchedRelay(relay: relay, isOn: cluster.isRelayOn, dropped: cluster.dropped)
        let handover = ClusterHandover(
            local: hub, routes: cluster.routes, relay: switched, node: id,
            limits: .init(lookupMembersMax: options.lookupMembersMax), clock: clock, logger: quietLogger)
        let inbox = RelayInbox(handover: hub, sessions: hub, conversations: store, clock: clock, logger: quietLogger)
        listener = PeerListener(
            configuration: peers, node: id, verifier: cluster.verifier, receiver: inbox, group: group, logger: quietLogger)
        sessions = ClusterSessionControl(local: hub, routes: cluster.routes, relay: switched, node: id, logger: quietLogger)
        sequencer = Sequencer(log: store, handover: handover, ids: ids, clock: clock, logger: quietLogger)
        let scheduler = Scheduler(store: store, sequencer: sequencer, ids: ids, clock: clock, logger: quietLogger)
        let marks = MarkBuffer(conversations: store, handover: handover, interval: .milliseconds(10), logger: quietLogger)
        let sweep = HeadSweep(log: store, conversations: store, handover: hub, interval: options.sweepInterval, logger: quietLogger)
        let delivery = Delivery(
            sequencer: sequencer, log: store, conversations: store, scheduler: scheduler, marks: marks, handover: handover, clock: clock,
            rules: SendRules())
        var configuration = SocketConfiguration(webSocket: loopback, tcp: loopback)
        configuration.drainSeconds = 0
        role = SocketRole(
            configuration: configuration, hub: hub, delivery: delivery, verifier: cluster.verifier, devices: store,
            routes: cluster.routes, node: id, ids: ids, clock: clock, group: group, logger: quietLogger)
        services = [listener, inbox, relay, handover, sequencer, marks, scheduler, sweep, role]
    }
}

/// Two socket nodes, `a` and `b`, on one store and one table of routes, and people who connect to them.
struct TwoNodes: Sendable {
    struct Options: Sendable {
        /// So long that within a test nothing comes by the sweep.
        var sweepInterval = Duration.seconds(3600)
        var lookupMembersMax = 256
    }

    static let names: [String: UInt64] = ["alice": 1, "bob": 2, "carol": 3, "dave": 4]

    let options: Options
    let store = MemoryStore()
    let routes = MemoryRouteTable()
    let registry = FakeRegistry()
    let isRelayOn = NIOLockedValueBox(true)
    let dropped = NIOLockedValueBox(0)
    let verifier: FakeVerifier

    static func run(_ options: Options = Options(), _ body: @Sendable (TwoNodes, ClusterNode, ClusterNode) async throws -> Void)
        async throws
    {
        let cluster = TwoNodes(options)
        for (name, number) in names {
            let device = Device(
                id: DeviceID(number), account: AccountID(number), name: name, platform: "test", createdAt: Timestamp(milliseconds: 1),
                lastSeenAt: Timestamp(milliseconds: 1))
            try await cluster.store.create(
                device, token: RefreshTokenRecord(hash: Array(name.utf8), expiresAt: Timestamp(milliseconds: .max)))
        }
        let a = try ClusterNode(NodeID(number: 1, epoch: 5), cluster)
        let b = try ClusterNode(NodeID(number: 2, epoch: 9), cluster)
        try await running(a.services + b.services) {
            cluster.registry.set([
                socketNode(a.id, try await a.listener.address.value), socketNode(b.id, try await b.listener.address.value),
            ])
            try await eventually { a.relay.openPeers == [b.id] && b.relay.openPeers == [a.id] }
            try await body(cluster, a, b)
        }
    }

    private init(_ options: Options) {
        self.options = options
        var verifier = FakeVerifier()
        for (name, number) in Self.names {
            verifier.grants[name] = FakeVerifier.grant(.device(AccountID(number), DeviceID(number)), ["user"])
        }
        self.verifier = verifier
    }

    func direct(_ first: UInt64, _ second: UInt64) async throws -> ConversationID {
        try await store.direct(
            between: AccountID(first), and: AccountID(second), proposedID: ConversationID(100), at: Timestamp(milliseconds: 1)
        ).id
    }

    /// A group that the first of them made, through this node.
    func group(_ members: [UInt64], through node: ClusterNode) async throws -> ConversationID {
        let id = ConversationID(200)
        try await change(
            id, by: members[0], .create(title: "g", members: members.dropFirst().map { AccountID($0) }), .created, through: node)
        return id
    }

    func change(
        _ id: ConversationID, by account: UInt64, _ change: ConversationChange, _ event: SystemEvent.Event, accounts: [UInt64] = [],
        through node: ClusterNode
    ) async throws {
        let body = try JSONEncoder().encode(SystemEvent(event: event, accounts: accounts.map { AccountID($0) }))
        _ = try await node.sequencer.append(
            EntryDraft(
                conversation: id, sender: AccountID(account), clientID: "apus:\(event.rawValue)-\(account)-\(accounts)", kind: .system,
                body: String(decoding: body, as: UTF8.self), change: change))
    }

    func connect(_ name: String, to node: ClusterNode) async throws -> ClusterClient {
        let client = ClusterClient(try await RawSocket(try await node.role.tcpAddress.value))
        try await client.hello(name)
        return client
    }
}

/// A client of the socket protocol that pulls what it is pointed to.
actor ClusterClient {
    private let socket: RawSocket
    private var last: [ConversationID: Seq] = [:]
    private var found: [String] = []

    init(_ socket: RawSocket) { self.socket = socket }

    func hello(_ token: String) async throws {
        var hello = WireHello()
        hello.accessToken = token
        try await send(.hello(hello))
        guard case .other(let frame) = try await frame(), case .welcome = frame.body else {
            throw ApusError(.unauthenticated, "not welcomed")
        }
    }

    func send(_ body: WireClientFrame.OneOf_Body) async throws {
        var bytes = ByteBuffer()
        try FrameEncoding.protobuf.encode(WireClientFrame(ref: 0, body), into: &bytes)
        await socket.send(bytes)
    }

    /// Returns when it is acknowledged.
    func say(_ text: String, in conversation: ConversationID) async throws {
        var bytes = ByteBuffer()
        let clientID = text.replacing(" ", with: "-")
        FrameEncoding.protobuf.encode(SendFrame(ref: 1, conversation: conversation, clientID: clientID, body: text), into: &bytes)
        await socket.send(bytes)
        while true {
            switch try await frame() {
            case .ack(let ack):
                last[conversation] = max(last[conversation] ?? 0, ack.seq)
                return
            case let other: try await note(other)
            }
        }
    }

    /// The next things that come, as `seq:body` for entries; a read mark is `read`, somebody typing `typing`.
    func next(_ count: Int) async throws -> [String] {
        while found.count < count { try await note(try await frame()) }
        defer { found.removeFirst(count) }
        return Array(found.prefix(count))
    }

    /// The code with which the server closes.
    func closeCode() async throws -> CloseCode? {
        while true {
            if case .other(let frame) = try await frame(), case .close(let close) = frame.body {
                return CloseCode(rawValue: UInt16(close.code))
            }
        }
    }

    func close() async { await socket.close() }

    private func note(_ frame: InboundServerFrame) async throws {
        switch frame {
        case .entry(let entry): note(entry)
        case .ack: break
        case .other(let frame):
            switch frame.body {
            case .head(let head):
                var pull = WirePull()
                pull.conversation = head.conversation
                pull.from = (last[ConversationID(head.conversation)] ?? 0) + 1
                if pull.from <= head.seq { try await send(.pull(pull)) }
            case .page(let page): for entry in page.entries { note(Entry(entry)) }
            case .read: found.append("read")
            case .typing: found.append("typing")
            case .error(let error): throw ApusError(ErrorCode(rawValue: error.code), error.message)
            default: break
            }
        }
    }

    private func note(_ entry: Entry) {
        last[entry.conversation] = max(last[entry.conversation] ?? 0, entry.seq)
        found.append("\(entry.seq):\(entry.kind == .system ? "system" : entry.body)")
    }

    private func frame() async throws -> InboundServerFrame {
        guard case .message(let bytes) = await socket.next() else { throw ApusError(.shuttingDown, "the connection ended") }
        return try FrameEncoding.protobuf.decodeServerFrame(bytes)
    }
}
