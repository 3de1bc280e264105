import ApusProtocol
import Foundation
import NIOCore

@testable import ApusClient

/// What a server knows and how it is told to misbehave. Confined to the fake server's one event loop.
final class FakeWorld {
    struct Person {
        var id: AccountID
        var username: String
        var password: String
    }

    struct Log {
        var entries: [Entry] = []
        var names: [String: Seq] = [:]
        /// Entries before this seq are gone.
        var first: Seq = 1
        /// Seqs that readers may not see.
        var hidden: Set<Seq> = []

        var head: Seq { entries.last?.seq ?? 0 }
    }

    /// Misbehaviour; each count goes down by one when it strikes.
    struct Faults {
        /// Append, then break the connection instead of acknowledging.
        var lostAcks = 0
        /// Break the connection instead of appending.
        var lostSends = 0
        /// Refuse a send for the time being. As a real server does, refuse what follows it in the conversation until it comes again.
        var temporaryRefusals = 0
        var retryAfter: UInt32 = 20
        /// Append, and push to nobody.
        var lostPushes = 0
        /// Say nothing at all.
        var isSilent = false
        /// Close a hello with this code.
        var helloClose: [CloseCode] = []
        /// Answer GET /v1/socket with 503.
        var unavailable = 0
    }

    var people: [Person] = []
    var logs: [ConversationID: Log] = [:]
    var faults = Faults()
    var pageSize = 10
    var heartbeatMilliseconds: UInt32 = 30_000
    var inFlightMax: UInt32 = 16
    var bodyBytesMax: UInt32 = 4_096
    var accessTokenSeconds = 900
    /// Where clients are told to connect.
    var node = SocketNode(url: "", tcp: nil)
    /// Where they are told to connect before that: what a registry says that has not noticed yet.
    var staleNodes: [SocketNode] = []
    /// How often they asked.
    var allocations = 0
    /// What those who asked for a node did not want, of each that said so.
    var avoidedNodes: [String] = []

    // What happened, for tests to look at.
    var hellos = 0
    var sends: [SendFrame] = []
    var marks: [WireRead] = []
    var pings = 0
    var typings = 0
    var refreshes = 0
    /// Refresh tokens that were used a second time.
    var reuses = 0

    private var accessTokens: [String: AccountID] = [:]
    private var refreshTokens: [String: AccountID] = [:]
    private var usedRefreshTokens: Set<String> = []
    private var devices: [AccountID: DeviceID] = [:]
    private var nextID: UInt64 = 1_000
    private var stalled: [ConversationID: String] = [:]
    private(set) var sessions: [FakeSession] = []

    func id<Tag>(_ type: Identifier<Tag>.Type = Identifier<Tag>.self) -> Identifier<Tag> {
        nextID += 1
        return Identifier(nextID)
    }

    // MARK: Logins

    func add(person username: String, password: String) -> Person {
        let person = Person(id: id(), username: username, password: password)
        people.append(person)
        return person
    }

    func login(_ username: String, _ password: String) -> TokenResponse? {
        guard let person = people.first(where: { $0.username == username && $0.password == password }) else { return nil }
        let device: DeviceID = id()
        devices[person.id] = device
        return tokens(person.id)
    }

    func refresh(_ token: String) -> TokenResponse? {
        guard let account = refreshTokens.removeValue(forKey: token) else {
            if usedRefreshTokens.contains(token) { reuses += 1 }
            return nil
        }
        refreshes += 1
        usedRefreshTokens.insert(token)
        return tokens(account)
    }

    func account(accessToken: String) -> AccountID? { accessTokens[accessToken] }

    func expireAccessTokens() { accessTokens = [:] }

    func expireRefreshTokens() { refreshTokens = [:] }

    private func tokens(_ account: AccountID) -> TokenResponse {
        let access = "access-\(UUID().uuidString)"
        let refresh = "refresh-\(UUID().uuidString)"
        accessTokens[access] = account
        refreshTokens[refresh] = account
        return TokenResponse(
            accessToken: access, expiresIn: accessTokenSeconds, refreshToken: refresh, account: account, device: devices[account])
    }

    // MARK: Logs

    /// Appends as another person would, and pushes to every session.
    @discardableResult
    func append(_ body: String, to conversation: ConversationID, by sender: AccountID, kind: EntryKind = .text) -> Entry {
        var log = logs[conversation] ?? Log()
        let entry = Entry(
            conversation: conversation, seq: log.head + 1, id: id(), sender: sender, at: Timestamp(milliseconds: 1_700_000_000_000),
            kind: kind, body: body)
        log.entries.append(entry)
        logs[conversation] = log
        push(entry, but: nil)
        return entry
    }

    private func push(_ entry: Entry, but sender: FakeSession?) {
        if faults.lostPushes > 0 {
            faults.lostPushes -= 1
            return
        }
        guard logs[entry.conversation]?.hidden.contains(entry.seq) != true else { return }
        for session in sessions where session !== sender && session.isWelcome { session.send(entry) }
    }

    // MARK: Sessions

    func opened(_ session: FakeSession) { sessions.append(session) }

    func closed(_ session: FakeSession) { sessions.removeAll { $0 === session } }

    func received(_ frame: InboundClientFrame, from session: FakeSession) {
        guard !faults.isSilent else { return }
        switch frame {
        case .send(let send): received(send, from: session)
        case .other(let frame): received(frame, from: session)
        }
    }

    private func received(_ send: SendFrame, from session: FakeSession) {
        guard let account = session.account else { return session.close(.outOfState) }
        sends.append(send)
        if faults.lostSends > 0 {
            faults.lostSends -= 1
            return session.abort()
        }
        if let name = stalled[send.conversation], name != send.clientID { return refuse(send, session) }
        if faults.temporaryRefusals > 0 {
            faults.temporaryRefusals -= 1
            stalled[send.conversation] = send.clientID
            return refuse(send, session)
        }
        stalled[send.conversation] = nil
        if send.deliverAt != nil {
            let ack = AckFrame(
                ref: send.ref, conversation: send.conversation, clientID: send.clientID, id: id(), seq: 0, at: Timestamp(milliseconds: 1),
                deliverAt: send.deliverAt)
            return session.send(ack)
        }
        guard send.body != "forbidden" else { return refuse(send, session, code: .notMember) }
        var log = logs[send.conversation] ?? Log()
        let entry: Entry
        if let seq = log.names["\(account)/\(send.clientID)"] {
            entry = log.entries[Int(seq) - 1]
        } else {
            entry = Entry(
                conversation: send.conversation, seq: log.head + 1, id: id(), sender: account,
                at: Timestamp(milliseconds: 1_700_000_000_000), kind: send.kind, body: send.body)
            log.entries.append(entry)
            log.names["\(account)/\(send.clientID)"] = entry.seq
            logs[send.conversation] = log
            push(entry, but: session)
        }
        if faults.lostAcks > 0 {
            faults.lostAcks -= 1
            return session.abort()
        }
        session.send(
            AckFrame(
                ref: send.ref, conversation: entry.conversation, clientID: send.clientID, id: entry.id, seq: entry.seq, at: entry.at))
    }

    private func refuse(_ send: SendFrame, _ session: FakeSession, code: ErrorCode = .overloaded) {
        var error = WireError()
        error.code = code.rawValue
        error.retryable = code.isRetryable
        error.retryAfterMs = faults.retryAfter
        error.conversation = send.conversation.rawValue
        error.clientID = send.clientID
        session.send(WireServerFrame(ref: send.ref, .error(error)))
    }

    private func received(_ frame: WireClientFrame, from session: FakeSession) {
        switch frame.body {
        case .hello(let hello): greet(hello, ref: frame.ref, session)
        case .sync(let sync): session.send(WireServerFrame(ref: frame.ref, .heads(heads(since: sync.token))))
        case .pull(let pull): answer(pull, ref: frame.ref, session)
        case .ping:
            pings += 1
            session.send(WireServerFrame(ref: frame.ref, .pong(WirePong())))
        case .read(let read): marks.append(read)
        case .typing: typings += 1
        default: session.close(.malformed)
        }
    }

    private func greet(_ hello: WireHello, ref: UInt32, _ session: FakeSession) {
        hellos += 1
        if !faults.helloClose.isEmpty { return session.close(faults.helloClose.removeFirst()) }
        guard let account = accessTokens[hello.accessToken] else { return session.close(.tokenRefused) }
        session.account = account
        var welcome = WireWelcome()
        welcome.account = account.rawValue
        welcome.heartbeatMs = heartbeatMilliseconds
        welcome.frameBytesMax = 65_536
        welcome.bodyBytesMax = bodyBytesMax
        welcome.inFlightMax = inFlightMax
        session.send(WireServerFrame(ref: ref, .welcome(welcome)))
    }

    /// One head per answer, so that every sync takes several. The token is where in the ids it stands.
    private func heads(since token: String) -> WireHeads {
        var heads = WireHeads()
        let conversations = logs.keys.sorted()
        let parts = token.split(separator: "/").compactMap { UInt64($0) }
        let after = parts.count == 1 ? parts[0] : 0
        if let next = conversations.first(where: { $0.rawValue > after }) {
            var head = WireHead()
            head.conversation = next.rawValue
            head.seq = logs[next]?.head ?? 0
            heads.heads = [head]
            heads.more = next != conversations.last
            heads.token = heads.more ? "\(next.rawValue)" : "done/0"
        } else {
            heads.token = "done/0"
        }
        return heads
    }

    private func answer(_ pull: WirePull, ref: UInt32, _ session: FakeSession) {
        let log = logs[ConversationID(pull.conversation)] ?? Log()
        guard pull.from >= log.first, pull.from <= log.head + 1 else {
            var reset = WireReset()
            reset.conversation = pull.conversation
            reset.first = log.first
            reset.head = log.head
            return session.send(WireServerFrame(ref: ref, .reset(reset)))
        }
        let through = min(log.head, pull.from + UInt64(pageSize) - 1)
        var page = WirePage()
        page.conversation = pull.conversation
        page.from = pull.from
        page.through = max(through, pull.from - 1)
        page.head = log.head
        page.entries = log.entries.filter { (pull.from...max(pull.from, through)).contains($0.seq) && !log.hidden.contains($0.seq) }
            .map(WireEntry.init)
        session.send(WireServerFrame(ref: ref, .page(page)))
    }
}
