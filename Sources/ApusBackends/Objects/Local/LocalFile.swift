import ApusProtocol
import Foundation
import NIOCore

/// One open file, with the calls of the system that make it durable. Blocks: call it on a thread that may wait.
final class LocalFile: Sendable {
    private let descriptor: CInt

    /// A new file for writing and reading.
    static func creating(_ path: String) throws -> LocalFile {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot write a file") }
        return LocalFile(descriptor)
    }

    private init(_ descriptor: CInt) { self.descriptor = descriptor }

    /// Nil when there is none; a directory is none.
    static func reading(_ path: String) throws -> LocalFile? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if isMissing(errno) { return nil }
            throw failure("cannot read a file")
        }
        let file = LocalFile(descriptor)
        return try file.status() == nil ? nil : file
    }

    deinit { close(descriptor) }

    /// Appends all of it.
    func write(_ buffer: ByteBuffer) throws {
        try buffer.withUnsafeReadableBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                let count = Foundation.write(descriptor, part.baseAddress, part.count)
                if count < 0 {
                    if errno == EINTR { continue }
                    throw Self.failure("cannot write a file")
                }
                rest = rest.dropFirst(count)
            }
        }
    }

    /// Fewer bytes only at the end of the file.
    func read(at offset: Int64, count: Int) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(count)
        while buffer.readableBytes < count {
            let position = offset + Int64(buffer.readableBytes)
            let wanted = count - buffer.readableBytes
            let got = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { bytes in
                var got: Int
                repeat { got = pread(descriptor, bytes.baseAddress, wanted, off_t(position)) } while got < 0 && errno == EINTR
                guard got >= 0 else { throw Self.failure("cannot read a file") }
                return got
            }
            if got == 0 { break }
        }
        return buffer
    }

    struct Status {
        var size: Int64
        var modifiedAt: Timestamp
        var isDirectory: Bool

        fileprivate init(_ status: stat) {
            #if canImport(Darwin)
            let time = status.st_mtimespec
            #else
            let time = status.st_mtim
            #endif
            size = Int64(status.st_size)
            modifiedAt = Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
            isDirectory = status.st_mode & S_IFMT == S_IFDIR
        }
    }

    /// Nil when it is a directory.
    func status() throws -> Status? {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.failure("cannot read a file") }
        let result = Status(status)
        return result.isDirectory ? nil : result
    }

    /// Nil when there is nothing of that name.
    static func status(of path: String) throws -> Status? {
        var status = stat()
        if lstat(path, &status) == 0 { return Status(status) }
        if isMissing(errno) { return nil }
        throw failure("cannot read a file")
    }

    /// What was written survives a loss of power.
    func sync() throws {
        #if canImport(Darwin)
        // fsync of macOS leaves it in the drive's cache.
        guard fcntl(descriptor, F_FULLFSYNC) == 0 || fsync(descriptor) == 0 else { throw Self.failure("cannot make a file durable") }
        #else
        guard fsync(descriptor) == 0 else { throw Self.failure("cannot make a file durable") }
        #endif
    }

    // MARK: Names

    /// The names in a directory survive a loss of power. Whoever removed the directory since has seen to that himself.
    static func syncDirectory(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if isMissing(errno) { return }
            throw failure("cannot open a directory")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot make a directory durable") }
    }

    /// Whether it was not there before.
    static func makeDirectory(_ path: String) throws -> Bool {
        if mkdir(path, 0o700) == 0 { return true }
        guard errno == EEXIST else { throw failure("cannot make a directory") }
        return false
    }

    /// In any order; none when there is no such directory.
    static func names(in path: String) throws -> [String] {
        guard let directory = opendir(path) else {
            if isMissing(errno) { return [] }
            throw failure("cannot read a directory")
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Whether there was something to name.
    static func rename(_ old: String, to new: String) throws -> Bool {
        if Foundation.rename(old, new) == 0 { return true }
        if errno == ENOENT { return false }
        throw failure("cannot name a file")
    }

    /// Whether there was one.
    @discardableResult
    static func remove(_ path: String) throws -> Bool {
        if unlink(path) == 0 { return true }
        // EISDIR, and EPERM on macOS: a directory is no object.
        guard isMissing(errno) || errno == EISDIR || errno == EPERM else { throw failure("cannot remove a file") }
        return false
    }

    /// Whether it was there and empty.
    static func removeDirectoryIfEmpty(_ path: String) -> Bool { rmdir(path) == 0 }

    private static func isMissing(_ code: CInt) -> Bool { code == ENOENT || code == ENOTDIR }

    private static func failure(_ what: String) -> ApusError {
        let code = errno
        switch code {
        case ENOSPC, EDQUOT: return ApusError(.storeUnavailable, "the disk of the object store is full")
        case EISDIR, ENOTDIR, ENOTEMPTY: return ApusError(.conflict, "one key would be a folder of the other")
        default: return ApusError(.storeUnavailable, "\(what): \(String(cString: strerror(code)))")
        }
    }
}
