import ApusBackends
import ApusCore
import ApusProtocol
import ArgumentParser
import Foundation

struct AppendBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "append", abstract: "Durable appends and reads of the embedded store.")

    @Option(help: "A directory on the disk to measure; a new one is made in it and removed.")
    var directory = FileManager.default.temporaryDirectory.path
    @Option(help: "Entries that are in the log before the measurement.")
    var prefill = 1_000_000
    @Option(help: "Groups of four that the entries are spread over at random.")
    var conversations = 1_000
    @Option(help: "Bytes of a body.")
    var body = 120
    @Flag(help: "Random client ids instead of ids that grow with time.")
    var randomIds = false
    @Option(help: "Seconds to measure each batch size.")
    var seconds = 5.0

    @Option(name: .customLong("batch"), help: "A number of rows per transaction; may be given several times.")
    var batches: [Int] = [1, 16, 128, 1024]

    func run() async throws {
        let directory = URL(fileURLWithPath: directory).appendingPathComponent("apus-benchmark-\(getpid())")
        defer { try? FileManager.default.removeItem(at: directory) }
        var load = AppendLoad(conversations: conversations, bodyBytes: body, orderedIDs: !randomIds)
        let store = try SQLiteStore(directory: directory)
        _ = try store.log.append(load.creations())
        let start = now()
        var filled = 0
        while filled < prefill {
            filled += try store.log.append(load.batch(4096)).count
        }
        report("prefilled \(filled) entries in \(conversations) conversations, \(Int(Double(filled) / max(0.001, now() - start))) rows/s")
        report("rows per transaction   rows/s   CPU µs per row   one append")
        for size in batches { try measure(size, store, &load) }
        try await reads(store, &load)
        try store.close()
        let opening = now()
        let reopened = try SQLiteStore(directory: directory)
        report("opening again: \(Int((now() - opening) * 1000)) ms")
        try reopened.close()
    }

    private func measure(_ size: Int, _ store: SQLiteStore, _ load: inout AppendLoad) throws {
        var durations = Durations()
        var rows = 0
        var measured = 0.0
        var used = 0.0
        while measured < seconds {
            // Making the entries is not measured.
            let batch = load.batch(size)
            let before = (now(), cpu())
            let outcomes = try store.log.append(batch)
            let duration = now() - before.0
            used += cpu() - before.1
            durations.add(duration)
            measured += duration
            rows += outcomes.count
        }
        let figures = [String(size).leftPadded(20), String(Int(Double(rows) / measured)).leftPadded(9)]
        let perRow = String(format: "%.1f", used / Double(rows) * 1e6).leftPadded(17)
        report(figures.joined() + perRow + "   " + durations.summary)
    }

    private func reads(_ store: SQLiteStore, _ load: inout AppendLoad) async throws {
        for (name, back) in [("the last 100 entries", 0), ("100 entries from far back", UInt64.max)] {
            var durations = Durations()
            for _ in 0..<3000 {
                let id = load.anyConversation()
                let start = now()
                let head = try await store.log.head(of: id)
                let first = back == 0 ? head - min(head - 1, 99) : load.random(below: max(1, head / 2)) + 1
                let entries = try await store.log.entries(of: id, in: first...first + 99, limit: 100, bytesMax: .max)
                precondition(!entries.isEmpty)
                durations.add(now() - start)
            }
            report("\(name): \(durations.summary)")
        }
    }
}

/// Entries of four members each, spread over conversations at random.
struct AppendLoad {
    private let ids: [ConversationID]
    private let body: String
    private let orderedIDs: Bool
    private var random = SplitMix(state: 1)
    private var made: UInt64 = 0

    init(conversations: Int, bodyBytes: Int, orderedIDs: Bool) {
        ids = (0..<conversations).map { ConversationID(7_000_000_000_000_000 + UInt64($0) << 22) }
        body = String(repeating: "x", count: bodyBytes)
        self.orderedIDs = orderedIDs
    }

    func creations() -> [NewEntry] {
        ids.map { id in
            NewEntry(
                id: EntryID(id.rawValue + 1), conversation: id, sender: AccountID(1), clientID: "create", kind: .system, body: "{}",
                at: Timestamp(milliseconds: 1), change: .create(title: "", members: [2, 3, 4].map { AccountID($0) }))
        }
    }

    mutating func batch(_ size: Int) -> [NewEntry] {
        (0..<size).map { _ in
            made += 1
            let id = EntryID(7_100_000_000_000_000_000 + made)
            return NewEntry(
                id: id, conversation: anyConversation(), sender: AccountID(random.next() % 4 + 1),
                clientID: clientID(ordered: orderedIDs, made, &random), kind: .text, body: body,
                at: Timestamp(milliseconds: 1_800_000_000_000 + Int64(made)))
        }
    }

    mutating func anyConversation() -> ConversationID { ids[Int(random.next() % UInt64(ids.count))] }

    mutating func random(below bound: UInt64) -> UInt64 { random.next() % bound }
}
