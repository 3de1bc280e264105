import ApusProtocol
import Logging
import NIOConcurrencyHelpers

@testable import ApusCore

let silentLogger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// What was done, as text, in its order; a test awaits it.
final class Journal: Sendable {
    private let lines: AsyncStream<String>
    private let continuation: AsyncStream<String>.Continuation

    init() { (lines, continuation) = AsyncStream.makeStream() }

    func note(_ line: String) { continuation.yield(line) }

    /// The next lines; ends with the time limit of the test when there are fewer.
    func next(_ count: Int) async -> [String] {
        var found: [String] = []
        for await line in lines {
            found.append(line)
            if found.count == count { break }
        }
        return found
    }
}

extension RelayReaders {
    var text: String {
        switch self {
        case .accounts(let accounts): accounts.sorted().map(\.description).joined(separator: ",")
        case .members(let rosterSeq): "members@\(rosterSeq)"
        }
    }
}

extension RelayMessage {
    var text: String {
        switch self {
        case .entry(let entry, let readers, let isDuplicate):
            "\(entry.conversation)/\(entry.seq)\(isDuplicate ? "*" : "")>\(readers.text)"
        case .signal(.typing(let conversation, let account), let readers): "typing \(conversation) \(account)>\(readers.text)"
        case .signal(.mark(let mark), let readers): "mark \(mark.conversation) \(mark.account)>\(readers.text)"
        case .close(let devices, let account, let code): "close \(account) \(devices) \(code.rawValue)"
        }
    }
}

struct JournalRelay: Relay {
    let journal = Journal()

    func send(_ batch: [RelayMessage], to node: NodeID) { journal.note("\(node): " + batch.map(\.text).joined(separator: " ")) }
    func sendToAll(_ batch: [RelayMessage]) { journal.note("all: " + batch.map(\.text).joined(separator: " ")) }
}

/// The sessions of one node, which write down what they get.
struct JournalSessions: Handover, SessionControl {
    let journal = Journal()

    func handOver(_ batch: [AppendResult]) {
        for result in batch {
            guard case .committed(let entry, let audience, let isDuplicate) = result.outcome else { continue }
            journal.note(RelayMessage.entry(entry, to: .accounts(audience.accounts), isDuplicate: isDuplicate).text)
        }
    }

    func signal(_ signal: Signal, to audience: Audience, except: SessionID?) {
        journal.note(RelayMessage.signal(signal, to: .accounts(audience.accounts)).text)
    }

    func repair(_ head: ConversationHead, audience: Audience) {
        journal.note("repair \(head.conversation)/\(head.seq)>" + RelayReaders.accounts(audience.accounts).text)
    }

    func closeSessions(of devices: [DeviceID], account: AccountID, code: CloseCode) async throws {
        journal.note(RelayMessage.close(devices, account: account, code: code).text)
    }
}

/// Routes that can fail, and that count the questions.
final class FakeRoutes: RouteTable {
    private struct State {
        var nodes: [AccountID: [NodeID]] = [:]
        var asked: [Int] = []
        var failures = 0
    }

    private let state = NIOLockedValueBox(State())

    init(_ nodes: [UInt64: [NodeID]] = [:]) {
        let nodes = Dictionary(uniqueKeysWithValues: nodes.map { (AccountID($0), $1) })
        state.withLockedValue { $0.nodes = nodes }
    }

    /// How many accounts each question was about.
    var asked: [Int] { state.withLockedValue { $0.asked } }
    func failNext(_ count: Int) { state.withLockedValue { $0.failures = count } }

    func add(_ route: Route) async throws {}
    func remove(_ route: Route) async throws {}

    func routes(of accounts: [AccountID]) async throws -> [AccountID: [Route]] {
        try state.withLockedValue { state in
            state.asked.append(accounts.count)
            if state.failures > 0 {
                state.failures -= 1
                throw ApusError(.storeUnavailable, "no routes")
            }
            var found: [AccountID: [Route]] = [:]
            for account in accounts {
                found[account] = state.nodes[account]?.enumerated().map { index, node in
                    Route(session: SessionID(account.rawValue * 10 + UInt64(index)), account: account, device: DeviceID(1), node: node)
                }
            }
            return found
        }
    }

    func onlineCount() async throws -> Int { state.withLockedValue { $0.nodes.count } }
    func onlineAccounts(after: AccountID?, limit: Int) async throws -> [AccountID] { [] }
}

/// A clock that a test moves.
final class HandClock: WallClock {
    private let time = NIOLockedValueBox(Timestamp(milliseconds: 1_000_000))

    var now: Timestamp { time.withLockedValue { $0 } }
    func advance(_ duration: Duration) { time.withLockedValue { $0 = $0 + duration } }
}

func testEntry(_ conversation: UInt64, _ seq: Seq, kind: EntryKind = .text, body: String = "x", sender: UInt64 = 1) -> Entry {
    Entry(
        conversation: ConversationID(conversation), seq: seq, id: EntryID(seq), sender: AccountID(sender), at: Timestamp(milliseconds: 1),
        kind: kind, body: body)
}

/// As the sequencer hands it over.
func committed(_ entry: Entry, to accounts: some Sequence<Int>, rosterSeq: Seq = 1, isDuplicate: Bool = false) -> AppendResult {
    let audience = Audience(accounts.map { AccountID(UInt64($0)) }, rosterSeq: rosterSeq)
    return AppendResult(
        conversation: entry.conversation, clientID: "c", origin: nil,
        outcome: .committed(entry, audience: audience, isDuplicate: isDuplicate))
}
