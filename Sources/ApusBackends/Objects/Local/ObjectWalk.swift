import ApusCore
import ApusProtocol

/// Finds a page of objects among the files, in the byte order of their keys. Reads the directories on the way to the cursor and those on the
/// page, and no others.
struct ObjectWalk {
    private let root: String
    private let prefix: String
    private let cursor: String
    private let limit: Int
    /// One more than the page has, to know whether another one follows.
    private var items: [ObjectPage.Item] = []

    static func page(of root: String, prefix: String, after cursor: String?, limit: Int) throws -> ObjectPage {
        var walk = ObjectWalk(root: root, prefix: prefix, cursor: cursor ?? "", limit: limit)
        // The prefix's last part may be a piece of a name.
        try walk.visit(prefix.lastIndex(of: "/").map { String(prefix[...$0]) } ?? "")
        let items = Array(walk.items.prefix(limit))
        return ObjectPage(items: items, next: walk.items.count > limit ? items.last?.key.description : nil)
    }

    private init(root: String, prefix: String, cursor: String, limit: Int) {
        self.root = root
        self.prefix = prefix
        self.cursor = cursor
        self.limit = limit
    }

    /// - Parameter folder: empty, or a key's beginning with a slash at its end.
    private mutating func visit(_ folder: String) throws {
        for (name, status) in try entries(folder) {
            guard items.count <= limit else { return }
            if status.isDirectory {
                try visit(name)
            } else if let key = ObjectKey(name) {
                let size = status.size - Int64(ObjectTrailer.bytes)
                items.append(ObjectPage.Item(key: key, size: size, modifiedAt: status.modifiedAt))
            }
        }
    }

    /// What in a folder may belong to the page, in order: a directory stands where the keys in it do, with its slash.
    private func entries(_ folder: String) throws -> [(name: String, status: LocalFile.Status)] {
        var entries: [(name: String, status: LocalFile.Status)] = []
        for name in try LocalFile.names(in: "\(root)/\(folder)") {
            let key = folder + name
            guard key.hasPrefix(prefix), let status = try LocalFile.status(of: "\(root)/\(key)") else { continue }
            let isAhead = status.isDirectory ? precedes(cursor, "\(key)/") || cursor.hasPrefix("\(key)/") : precedes(cursor, key)
            if isAhead { entries.append((status.isDirectory ? "\(key)/" : key, status)) }
        }
        return entries.sorted { precedes($0.name, $1.name) }
    }

    private func precedes(_ left: String, _ right: String) -> Bool { left.utf8.lexicographicallyPrecedes(right.utf8) }
}
