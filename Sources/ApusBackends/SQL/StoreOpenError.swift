/// Why a store cannot be opened: for the person who starts the server.
public struct StoreOpenError: Error, Sendable, CustomStringConvertible {
    public enum Reason: Sendable, Hashable {
        /// Another process has the directory.
        case inUse
        /// The file is damaged or is no database.
        case corrupt
        /// A newer version of Apus wrote the file.
        case newerSchema
        /// A directory, file or database cannot be made, read or written.
        case unusable
        /// The server of the database does not answer, or another node is at work on its tables; a later try may do better.
        case unreachable
    }

    public var reason: Reason
    /// The file, directory or database that it is about.
    public var path: String
    public var detail: String

    init(_ reason: Reason, _ path: String, _ detail: String) {
        self.reason = reason
        self.path = path
        self.detail = detail
    }

    public var description: String {
        switch reason {
        case .inUse: "\(path): \(detail). Stop that one first, or use another --data directory."
        case .corrupt:
            "\(path): the database is damaged (\(detail)). Nothing was changed. "
                + "Move the file away and restore a backup in its place: see \"Restore\" in Docs/operations.md."
        case .newerSchema: "\(path): \(detail). Use that version of Apus or a newer one, or restore an older backup."
        case .unusable, .unreachable: "\(path): \(detail)"
        }
    }
}
