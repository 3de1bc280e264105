import ApusCore
import ApusProtocol
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Objects as files of a directory, for a single node. One process at a time uses the directory.
///
/// An object is one file, named after its key: its bytes, and behind them an ``ObjectTrailer``. It is written beside its place, made durable, and
/// then named: whatever happens, there is the old object or the new one.
public final class LocalObjectStore: ObjectStore {
    /// Between the disk and the network.
    static let pieceBytes = 256 << 10

    public let partBytesMin: Int64
    let objects: String
    /// What is not an object yet: `new-…` belongs to a call that is under way, `upload-…` to an upload in parts.
    let incoming: String
    let threads: NIOThreadPool
    private let clock: any WallClock
    private let signer: ObjectURLSigner?
    /// Held while directories come and go, so that no directory goes between its making and the naming of the file in it.
    private let naming = NIOLock()

    /// - Parameters:
    ///   - directory: made when it is missing. Remains of calls that a crash interrupted are removed.
    ///   - signer: makes the signed URLs; nil: there are none.
    ///   - threads: where the disk is waited for.
    /// - Throws: ``ApusError`` `store_unavailable`.
    public init(
        directory: URL, partBytesMin: Int64 = 5 << 20, signer: ObjectURLSigner? = nil, clock: any WallClock = SystemClock(),
        threads: NIOThreadPool = .singleton
    ) throws {
        self.partBytesMin = partBytesMin
        self.signer = signer
        self.clock = clock
        self.threads = threads
        objects = directory.appending(path: "objects").path
        incoming = directory.appending(path: "incoming").path
        do {
            for path in [objects, incoming] { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
            for name in try LocalFile.names(in: incoming) where name.hasPrefix("new-") {
                try FileManager.default.removeItem(atPath: "\(incoming)/\(name)")
            }
        } catch {
            throw ApusError(.storeUnavailable, "the directory of the objects cannot be used", cause: error)
        }
    }

    public func put(_ key: ObjectKey, _ body: ObjectBody, type: String) async throws {
        try ObjectRules.check(type: type)
        try ObjectRules.check(body)
        try await store(key, body.checkedBytes, type: type)
    }

    public func get(_ key: ObjectKey, range: Range<Int64>?) async throws -> StoredObject {
        guard let (file, info) = try await open(key) else { throw ObjectRules.notFound(key) }
        let range = try ObjectRules.clamp(range, size: info.size)
        return StoredObject(info: info, range: range, body: bytes(of: file, range))
    }

    public func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await open(key)?.info }

    public func delete(_ key: ObjectKey) async throws {
        let path = path(key)
        try await threads.runIfActive { [self] in
            let remaining: String? = try naming.withLock {
                guard try LocalFile.remove(path) else { return nil }
                return removeEmptyDirectories(above: path)
            }
            if let remaining { try LocalFile.syncDirectory(remaining) }
        }
    }

    public func list(prefix: String, after cursor: String?, limit: Int) async throws -> ObjectPage {
        try ObjectRules.check(prefix: prefix, limit: limit)
        guard cursor.map({ ObjectKey($0) != nil }) ?? true else { throw ApusError(.invalidArgument, "that is no cursor") }
        return try await threads.runIfActive { [objects] in
            try ObjectWalk.page(of: objects, prefix: prefix, after: cursor, limit: limit)
        }
    }

    public func signedURL(for access: ObjectAccess, of key: ObjectKey, lifetime: Duration) async throws -> String? {
        try ObjectRules.check(access, lifetime: lifetime)
        return signer?.url(for: access, of: key, expiresAt: clock.now + lifetime)
    }

    // MARK: Inside

    private func path(_ key: ObjectKey) -> String { "\(objects)/\(key)" }

    /// A name that nobody has used, for something under way.
    func newPath() -> String { "\(incoming)/new-\(UUID().uuidString.lowercased())" }

    private func open(_ key: ObjectKey) async throws -> (file: LocalFile, info: ObjectInfo)? {
        let path = path(key)
        return try await threads.runIfActive {
            guard let file = try LocalFile.reading(path), let status = try file.status() else { return nil }
            let size = status.size - Int64(ObjectTrailer.bytes)
            let trailer = try ObjectTrailer.decode(try file.read(at: size, count: ObjectTrailer.bytes))
            let info = ObjectInfo(
                size: size, type: trailer.type, checksum: ObjectChecksum(trailer.checksum), modifiedAt: status.modifiedAt)
            return (file, info)
        }
    }

    /// Whoever reads it has the object as it is now, even if it is replaced or deleted meanwhile.
    func bytes(of file: LocalFile, _ range: Range<Int64>) -> ObjectBytes {
        ObjectBytes { [threads] in
            var position = range.lowerBound
            return {
                let count = min(Int64(Self.pieceBytes), range.upperBound - position)
                guard count > 0 else { return nil }
                let start = position
                let piece = try await threads.runIfActive { try file.read(at: start, count: Int(count)) }
                guard piece.readableBytes == count else { throw ApusError(.storeUnavailable, "an object's file is shorter than it was") }
                position += count
                return piece
            }
        }
    }

    /// Writes an object and gives it its name. Durable when it returns.
    func store(_ key: ObjectKey, _ bytes: ObjectBytes, type: String) async throws {
        let new = newPath()
        do {
            let (file, checksum) = try await write(bytes, to: new)
            let trailer = try ObjectTrailer(type: type, checksum: checksum.description).encoded()
            try await threads.runIfActive { [self] in
                try file.write(trailer)
                try file.sync()
                try publish(new, as: path(key))
            }
        } catch {
            discard(new)
            throw error
        }
    }

    /// - Returns: the file, and what was written to it.
    func write(_ bytes: ObjectBytes, to path: String) async throws -> (LocalFile, ObjectChecksum) {
        let file = try await threads.runIfActive { try LocalFile.creating(path) }
        var hash = ChecksumBuilder()
        for try await piece in bytes {
            hash.add(piece)
            try await threads.runIfActive { try file.write(piece) }
        }
        return (file, hash.finish())
    }

    /// Removes what is not needed any more, also when the caller is cancelled. What a full disk or a crash leaves of it goes at the next start.
    func discard(_ path: String) { threads.submit { _ in _ = try? FileManager.default.removeItem(atPath: path) } }

    private func publish(_ new: String, as path: String) throws {
        let changed = try naming.withLock {
            let changed = try makeDirectories(above: path)
            guard try LocalFile.rename(new, to: path) else { throw ApusError(.storeUnavailable, "a new object's file is gone") }
            return changed
        }
        for directory in changed { try LocalFile.syncDirectory(directory) }
    }

    /// - Returns: the directories in which there are new names then.
    private func makeDirectories(above path: String) throws -> [String] {
        var directory = objects
        var changed: [String] = []
        for part in path.dropFirst(objects.count + 1).split(separator: "/").dropLast() {
            let child = "\(directory)/\(part)"
            if try LocalFile.makeDirectory(child) { changed.append(directory) }
            directory = child
        }
        return changed + [directory]
    }

    /// - Returns: the lowest one that is left.
    private func removeEmptyDirectories(above path: String) -> String {
        var directory = path
        repeat {
            directory = String(directory[..<(directory.lastIndex(of: "/") ?? directory.startIndex)])
        } while directory != objects && LocalFile.removeDirectoryIfEmpty(directory)
        return directory
    }
}
