import ArgumentParser
import Foundation
import GRDBSQLite

struct ShapeBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shapes", abstract: "Compares layouts of the log's tables in SQLite: Docs/decisions/0002-entry-table-shape.md.")

    @Option(help: "A directory on the disk to measure; a new one is made in it and removed.")
    var directory = FileManager.default.temporaryDirectory.path
    @Option(help: "Entries that are in the log before the measurement.")
    var prefill = 1_000_000
    @Option(help: "Conversations that the entries are spread over at random.")
    var conversations = 1_000
    @Flag(help: "Random client ids instead of ids that grow with time.")
    var randomIds = false
    @Option(help: "Rows that gather before they move to where readers look.")
    var gather = 65_536
    @Flag(help: "Measure no appends.")
    var readsOnly = false
    @Argument(help: "The layouts to compare.")
    var shapes: [Shape] = Shape.allCases

    func run() throws {
        for shape in shapes {
            let directory = URL(fileURLWithPath: directory).appendingPathComponent("apus-shapes-\(getpid())")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: directory) }
            var trial = try ShapeTrial(
                shape, path: directory.appendingPathComponent("log.sqlite").path, conversations: conversations, orderedIDs: !randomIds,
                gather: gather)
            try trial.prefill(prefill)
            report("\(shape.rawValue), \(prefill) entries before, client ids \(randomIds ? "random" : "growing")")
            defer { report("") }
            if !readsOnly {
                // Long enough for whole runs, so that the work put off is in the figures.
                try trial.measure(rows: gather * 4, batch: 128)
                try trial.measure(rows: gather / 4, batch: 1)
                try trial.measure(rows: gather, batch: 16)
            }
            try trial.reads(entries: prefill)
        }
    }
}

private struct ShapeTrial {
    private let path: String
    private let connection: Connection
    private let store: ShapeStore
    private let checkpointer: Checkpointer
    private var random = SplitMix(state: 1)
    private let orderedIDs: Bool
    private var heads: [Int64]
    private var position: Int64 = 0

    init(_ shape: Shape, path: String, conversations: Int, orderedIDs: Bool, gather: Int) throws {
        self.path = path
        self.orderedIDs = orderedIDs
        heads = Array(repeating: 0, count: conversations)
        connection = try Connection(path, cacheKilobytes: 65_536)
        store = try ShapeStore(shape, connection, body: String(repeating: "x", count: 120), runMin: gather)
        checkpointer = try Checkpointer(path, connection)
    }

    private func id(_ index: Int) -> Int64 { 7_000_000_000_000_000 + Int64(index) << 22 }

    private mutating func row() -> ShapeRow {
        let index = Int(random.next() % UInt64(heads.count))
        heads[index] += 1
        position += 1
        return ShapeRow(
            position: position, conversation: id(index), seq: heads[index], sender: Int64(random.next() % 4 + 1),
            client: clientID(ordered: orderedIDs, UInt64(position), &random))
    }

    mutating func prefill(_ count: Int) throws {
        try connection.execute("PRAGMA synchronous=OFF")
        while position < Int64(count) {
            var rows: [ShapeRow] = []
            for _ in 0..<8192 { rows.append(row()) }
            try store.append(rows)
            checkpointer.bound()
        }
        try store.finish()
        try connection.execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous=FULL")
    }

    mutating func measure(rows total: Int, batch: Int) throws {
        var durations = Durations()
        checkpointer.reset()
        var spent = 0.0
        let start = cpu()
        for _ in 0..<total / batch {
            var rows: [ShapeRow] = []
            for _ in 0..<batch { rows.append(row()) }
            let before = now()
            try durations.measure {
                try store.append(rows)
                checkpointer.bound()
            }
            spent += now() - before
        }
        let figures = String(
            format: "%7d rows/s  %5.1f CPU µs per row  %6d bytes of WAL per row  ", Int(Double(total) / spent),
            (cpu() - start) / Double(total) * 1e6, checkpointer.framesWritten * 4096 / total)
        report("  \(String(batch).leftPadded(4)) per transaction: " + figures + durations.summary)
    }

    mutating func reads(entries: Int) throws {
        try store.finish()
        try connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for isCold in [false, true] {
            let reader = try Connection(path, cacheKilobytes: isCold ? 2_048 : 65_536)
            let select = try reader.prepare(store.shape.range)
            var durations = Durations()
            for _ in 0..<(isCold ? 300 : 6000) {
                if isCold { try dropPageCache(reader) }
                let first = Int64(random.next() % UInt64(max(1, entries / heads.count - 100))) + 1
                let conversation = id(Int(random.next() % UInt64(heads.count)))
                _ = try durations.measure { try select.run(.integer(conversation), .integer(first), .integer(first + 99)) }
            }
            report("  100 entries, \(isCold ? "cold" : "warm"): \(durations.summary)")
        }
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int64 ?? 0
        report("  \(size / position) bytes of file per entry")
    }

    /// So that the next read comes from the disk.
    private func dropPageCache(_ reader: Connection) throws {
        sqlite3_db_release_memory(reader.pointer)
        #if os(Linux)
        let descriptor = open(path, O_RDONLY)
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        close(descriptor)
        #else
        throw SQLiteError(description: "reads from a cold disk are measured on Linux only")
        #endif
    }
}

/// Copies the write-ahead log back on a thread of its own, as the store does.
private final class Checkpointer {
    /// What the hook of the connection, which may be called on its thread only, writes to.
    private final class Meter {
        var frames = 0
        var pages = 0
    }

    private let meter = Meter()
    private let queue = DispatchQueue(label: "checkpoint")
    private let background: Background
    private let writer: Connection

    /// Used on the queue only, hence unchecked.
    private final class Background: @unchecked Sendable {
        let connection: Connection
        init(_ connection: Connection) { self.connection = connection }
        func checkpoint() { sqlite3_wal_checkpoint_v2(connection.pointer, nil, SQLITE_CHECKPOINT_PASSIVE, nil, nil) }
    }

    init(_ path: String, _ writer: Connection) throws {
        self.writer = writer
        background = Background(try Connection(path, cacheKilobytes: 2_048))
        _ = sqlite3_wal_hook(
            writer.pointer,
            { context, _, _, pages in
                guard let context else { return SQLITE_OK }
                let meter = Unmanaged<Meter>.fromOpaque(context).takeUnretainedValue()
                meter.frames += Int(pages) >= meter.pages ? Int(pages) - meter.pages : Int(pages)
                meter.pages = Int(pages)
                return SQLITE_OK
            }, Unmanaged.passUnretained(meter).toOpaque())
    }

    deinit {
        _ = sqlite3_wal_hook(writer.pointer, nil, nil)
        queue.sync {}
    }

    var framesWritten: Int { meter.frames }

    func reset() { meter.frames = 0 }

    func bound() {
        guard meter.pages > 1000 else { return }
        let background = background
        queue.async { background.checkpoint() }
        guard meter.pages > 8000 else { return }
        queue.sync {}
        sqlite3_wal_checkpoint_v2(writer.pointer, nil, SQLITE_CHECKPOINT_PASSIVE, nil, nil)
    }
}
