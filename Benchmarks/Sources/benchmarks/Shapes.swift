import ArgumentParser

/// A row as all shapes store it.
struct ShapeRow {
    var position: Int64
    var conversation: Int64
    var seq: Int64
    var sender: Int64
    var client: String
}

/// Ways to lay out the log in tables.
enum Shape: String, CaseIterable, ExpressibleByArgument {
    /// One table clustered on (conversation, seq), a unique index of names.
    case clustered
    /// One table by rowid in the order of commits, two unique indexes.
    case indexed
    /// One table by rowid; two tables as indexes, filled later in sorted slices.
    case lateIndex
    /// A log by rowid; rows move later, in sorted slices, to a table clustered on (conversation, seq).
    case logAndTables

    /// Whether rows gather before they are put where readers look.
    var isLate: Bool { self == .lateIndex || self == .logAndTables }

    private var columns: String {
        "sender INTEGER NOT NULL, client_id TEXT NOT NULL, id INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL"
    }

    var schema: String {
        let names =
            "CREATE TABLE entry_name(conversation INTEGER, client_id TEXT, sender INTEGER, place INTEGER, "
            + "PRIMARY KEY(conversation, client_id, sender)) WITHOUT ROWID;"
        switch self {
        case .clustered:
            return "CREATE TABLE entry(position INTEGER, conversation INTEGER, seq INTEGER, \(columns), "
                + "PRIMARY KEY(conversation, seq)) WITHOUT ROWID; CREATE UNIQUE INDEX n ON entry(conversation, client_id, sender);"
        case .indexed:
            return "CREATE TABLE entry(position INTEGER PRIMARY KEY, conversation INTEGER, seq INTEGER, \(columns)); "
                + "CREATE UNIQUE INDEX s ON entry(conversation, seq); CREATE UNIQUE INDEX n ON entry(conversation, client_id, sender);"
        case .lateIndex:
            return "CREATE TABLE entry(position INTEGER PRIMARY KEY, conversation INTEGER, seq INTEGER, \(columns)); "
                + "CREATE TABLE entry_seq(conversation INTEGER, seq INTEGER, position INTEGER, PRIMARY KEY(conversation, seq)) WITHOUT ROWID; \(names)"
        case .logAndTables:
            return "CREATE TABLE entry_log(position INTEGER PRIMARY KEY, conversation INTEGER, seq INTEGER, \(columns)); "
                + "CREATE TABLE entry(conversation INTEGER, seq INTEGER, sender INTEGER, id INTEGER, at INTEGER, kind TEXT, body TEXT, "
                + "PRIMARY KEY(conversation, seq)) WITHOUT ROWID; \(names)"
        }
    }

    var insert: String {
        "INSERT INTO \(self == .logAndTables ? "entry_log" : "entry")(position, conversation, seq, sender, client_id, id, at, kind, body) "
            + "VALUES(?, ?, ?, ?, ?, ?, ?, 'text', ?)"
    }

    var find: String {
        "SELECT 1 FROM \(isLate ? "entry_name" : "entry") WHERE conversation = ? AND client_id = ? AND sender = ?"
    }

    var range: String {
        self == .lateIndex
            ? "SELECT e.seq, e.body FROM entry_seq s JOIN entry e ON e.position = s.position WHERE s.conversation = ? AND s.seq BETWEEN ? AND ? ORDER BY s.seq"
            : "SELECT seq, body FROM entry WHERE conversation = ? AND seq BETWEEN ? AND ? ORDER BY seq"
    }
}

/// A database of one shape, written as a store would.
final class ShapeStore {
    let shape: Shape
    private let connection: Connection
    private let insertRow: Prepared
    private let findName: Prepared
    private let late: (place: Prepared, name: Prepared, forget: Prepared)?
    private let body: String
    private let runMin: Int

    /// Rows that are in the log only.
    private var waiting: [ShapeRow] = []
    /// Those of them that are being moved, sorted.
    private var moving: ArraySlice<ShapeRow> = []
    private var movedThrough: Int64 = 0
    private var forgottenThrough: Int64 = 0
    private var debt = 0

    init(_ shape: Shape, _ connection: Connection, body: String, runMin: Int) throws {
        self.shape = shape
        self.connection = connection
        self.body = body
        self.runMin = runMin
        try connection.execute(shape.schema)
        insertRow = try connection.prepare(shape.insert)
        findName = try connection.prepare(shape.find)
        switch shape {
        case .clustered, .indexed: late = nil
        case .lateIndex:
            late = (
                try connection.prepare("INSERT INTO entry_seq(position, conversation, seq) VALUES(?, ?, ?)"),
                try connection.prepare("INSERT INTO entry_name VALUES(?, ?, ?, ?)"), try connection.prepare("SELECT ?, ?")
            )
        case .logAndTables:
            late = (
                try connection.prepare(
                    "INSERT INTO entry SELECT conversation, seq, sender, id, at, kind, body FROM entry_log WHERE position = ? AND ? >= 0 AND ? >= 0"
                ),
                try connection.prepare("INSERT INTO entry_name VALUES(?, ?, ?, ?)"),
                try connection.prepare("DELETE FROM entry_log WHERE position > ? AND position <= ?")
            )
        }
    }

    /// One transaction, with the check of every name that a store makes before it.
    func append(_ rows: [ShapeRow]) throws {
        for row in rows {
            let found = try findName.run(.integer(row.conversation), .text(row.client), .integer(row.sender))
            precondition(found == 0)
        }
        try connection.execute("BEGIN IMMEDIATE")
        for row in rows {
            try insertRow.run(
                .integer(row.position), .integer(row.conversation), .integer(row.seq), .integer(row.sender), .text(row.client),
                .integer(7_100_000_000_000_000_000 + row.position), .integer(1_800_000_000_000 + row.position), .text(body))
        }
        if shape.isLate {
            waiting += rows
            debt += rows.count * 2
            if debt >= 128 {
                try workOff(debt)
                debt = 0
            }
        }
        try connection.execute("COMMIT")
    }

    /// Puts all that waits where readers look.
    func finish() throws {
        try connection.execute("BEGIN")
        try workOff(.max, runMin: 1)
        try workOff(.max)
        try connection.execute("COMMIT")
    }

    private func workOff(_ budget: Int, runMin: Int? = nil) throws {
        guard let late else { return }
        if moving.isEmpty {
            if forgottenThrough < movedThrough {
                let end = min(
                    movedThrough,
                    forgottenThrough.addingReportingOverflow(Int64(budget)).overflow ? movedThrough : forgottenThrough + Int64(budget))
                try late.forget.run(.integer(forgottenThrough), .integer(end))
                forgottenThrough = end
                return
            }
            guard waiting.count >= runMin ?? self.runMin, let last = waiting.last else { return }
            movedThrough = last.position
            moving = waiting.sorted { ($0.conversation, $0.seq) < ($1.conversation, $1.seq) }[...]
            waiting = []
        }
        let slice = moving.prefix(budget)
        for row in slice { try late.place.run(.integer(row.position), .integer(row.conversation), .integer(row.seq)) }
        for row in slice.sorted(by: { ($0.conversation, $0.client) < ($1.conversation, $1.client) }) {
            try late.name.run(.integer(row.conversation), .text(row.client), .integer(row.sender), .integer(row.seq))
        }
        moving = moving.dropFirst(slice.count)
    }
}
