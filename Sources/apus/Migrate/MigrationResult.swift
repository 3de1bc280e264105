#if Cluster
import ApusBackends

/// What the command prints on standard output.
struct MigrationResult: Codable, Equatable {
    var equal: Bool
    /// Whether nodes may start on the database.
    var finished: Bool
    var tables: [DataMigrationReport.Table]

    init(_ report: DataMigrationReport) {
        equal = report.isEqual
        finished = report.isFinished
        tables = report.tables
    }

    /// As a table for people: the hash of an equal table once, and that in short.
    var lines: [String] {
        let header = ["table", "rows", "sha-256", "result"]
        let rows = tables.map { table -> [String] in
            let count = "\(table.sourceRows)" + (table.sourceRows == table.targetRows ? "" : " / \(table.targetRows)")
            let hash = table.sourceHash.prefix(16) + (table.isEqual ? "" : " / \(table.targetHash.prefix(16))")
            let result = table.isEqual ? "equal" : "NOT EQUAL" + (table.firstDifference.map { ", first at \($0)" } ?? "")
            return [table.name, count, String(hash), result]
        }
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        return ([header] + rows).map { row in
            zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: "  ").trimmedEnd
        }
    }
}

extension String {
    fileprivate var trimmedEnd: String { String(reversed().drop { $0 == " " }.reversed()) }
}
#endif
