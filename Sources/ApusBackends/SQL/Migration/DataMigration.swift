#if Cluster
import ApusProtocol
import Dispatch
import Foundation

/// Moves the data of a single node, on SQLite, into the empty database of a cluster, on MySQL.
///
/// It may be killed at any moment; the next one goes on where it stopped. No node starts on the database before all of it is there and was
/// read back.
public struct DataMigration: Sendable {
    public struct Progress: Sendable, Hashable {
        public enum Step: String, Sendable { case copying, verifying }

        public var step: Step
        public var table: String
        /// So many of `total` are done.
        public var rows: Int
        public var total: Int
    }

    private let directory: URL
    private let configuration: MySQLConfiguration

    /// - Parameters:
    ///   - directory: the data directory of a stopped server. It is locked meanwhile; nothing in it is changed.
    ///   - configuration: of the target, which exists and is empty or holds a part of these data.
    public init(from directory: URL, to configuration: MySQLConfiguration) {
        self.directory = directory
        self.configuration = configuration
    }

    /// Copies what is missing, and compares all of it. Where the report says that it is equal, the cluster may be started.
    /// - Throws: ``StoreOpenError`` when the source or the target cannot be used or must not be touched, with the reason.
    public func run(progress: @escaping @Sendable (Progress) -> Void = { _ in }) async throws -> DataMigrationReport {
        try await onThread { source, target in
            let identity = try source.identity
            switch try target.state() {
            case .empty, .unfinished(source: nil): try target.begin(source: identity)
            case .unfinished(source: identity): break
            case .unfinished:
                throw target.refusal(
                    "it holds an unfinished migration of other data: of another server, or of this one before it was started again. "
                        + "Make the database anew and begin again")
            case .used:
                // Nothing is left to do, or it is somebody's.
                guard try target.identity == identity else {
                    throw target.refusal("the database holds data already. Nothing was changed")
                }
                return try compare(source, target, isFinished: true, progress)
            }
            for table in MigrationTable.copied { try copy(table, source, target, progress) }
            try target.replaceNodeLeases(with: source.allNodeLeases)
            var report = try compare(source, target, isFinished: false, progress)
            if report.isEqual {
                try target.finish()
                report.isFinished = true
            }
            return report
        }
    }

    /// Compares, and changes nothing.
    /// - Throws: as ``run(progress:)``.
    public func verify(progress: @escaping @Sendable (Progress) -> Void = { _ in }) async throws -> DataMigrationReport {
        try await onThread { source, target in
            switch try target.state() {
            case .empty: throw target.refusal("the database is empty")
            case .unfinished: try compare(source, target, isFinished: false, progress)
            case .used: try compare(source, target, isFinished: true, progress)
            }
        }
    }

    /// Both databases block.
    private func onThread(
        _ body: @escaping @Sendable (MigrationSnapshot, MigrationTarget) throws -> DataMigrationReport
    ) async throws -> DataMigrationReport {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "apus.migration").async {
                continuation.resume(
                    with: Result {
                        do {
                            let source = try MigrationSource(directory: directory)
                            let target = try MigrationTarget(configuration)
                            return try source.read { try body($0, target) }
                        } catch let failure as MySQLFailure {
                            throw StoreOpenError(
                                failure.kind == .connection ? .unreachable : .unusable, configuration.description, failure.description)
                        }
                    })
            }
        }
    }

    private func copy(
        _ table: MigrationTable, _ source: MigrationSnapshot, _ target: MigrationTarget, _ progress: (Progress) -> Void
    ) throws {
        let total = try source.count(of: table)
        let highest = try target.highestKey(of: table)
        var done = highest == nil ? 0 : try target.count(of: table)
        let next = try source.rows(of: table, after: highest)
        var page = MigrationPage()
        func write() throws {
            try target.insert(page.rows, into: table)
            done += page.rows.count
            page = MigrationPage()
            progress(Progress(step: .copying, table: table.name, rows: done, total: total))
        }
        while let row = try next() {
            if !page.hasRoom(for: row) { try write() }
            page.add(row)
        }
        try write()
    }

    private func compare(
        _ source: MigrationSnapshot, _ target: MigrationTarget, isFinished: Bool, _ progress: (Progress) -> Void
    ) throws -> DataMigrationReport {
        let tables = try MigrationTable.all.map { table in
            let total = try source.count(of: table)
            return try compare(table, try source.rows(of: table, after: nil), target.rows(of: table)) { rows in
                progress(Progress(step: .verifying, table: table.name, rows: rows, total: total))
            }
        }
        return DataMigrationReport(tables: tables, isFinished: isFinished)
    }

    /// Each side is hashed by itself. Both are in the order of the key, so the first difference can be named.
    private func compare(
        _ table: MigrationTable, _ source: () throws -> SQLRow?, _ target: () throws -> SQLRow?, _ progress: (Int) -> Void
    ) throws -> DataMigrationReport.Table {
        var digests = (source: RowDigest(), target: RowDigest())
        var difference: String?
        while true {
            let rows = (source: try source(), target: try target())
            guard let either = rows.source ?? rows.target else { break }
            let bytes = (source: rows.source?.canonical, target: rows.target?.canonical)
            if let bytes = bytes.source { digests.source.add(bytes) }
            if let bytes = bytes.target { digests.target.add(bytes) }
            if difference == nil, bytes.source != bytes.target {
                difference = zip(table.key, either.values).map { "\($0)=\($1.shown)" }.joined(separator: " ")
            }
            if digests.source.count % MigrationPage.rowsMax == 0 { progress(digests.source.count) }
        }
        progress(digests.source.count)
        return DataMigrationReport.Table(
            name: table.name, sourceRows: digests.source.count, targetRows: digests.target.count, sourceHash: digests.source.text,
            targetHash: digests.target.text, firstDifference: difference)
    }
}

// MARK: What a source is known by

/// Its signing keys, which no other server has, and its node leases, which every start of a server changes: whether the data are still
/// those of the beginning is seen in a moment.
extension MigrationSnapshot {
    var identity: String {
        get throws { try digest(of: [rows(of: .signingKeys, after: nil), rows(of: .nodeLeases, after: nil)]) }
    }

    fileprivate var allNodeLeases: [SQLRow] {
        get throws {
            let next = try rows(of: .nodeLeases, after: nil)
            var leases: [SQLRow] = []
            while let lease = try next() { leases.append(lease) }
            return leases
        }
    }
}

extension MigrationTarget {
    var identity: String {
        get throws { try digest(of: [rows(of: .signingKeys), rows(of: .nodeLeases)]) }
    }
}

private func digest(of tables: [() throws -> SQLRow?]) throws -> String {
    var digest = RowDigest()
    for next in tables {
        while let row = try next() { digest.add(row.canonical) }
    }
    return digest.text
}
#endif
