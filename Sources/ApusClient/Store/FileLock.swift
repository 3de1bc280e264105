import Foundation

/// An advisory lock on a file (`flock`), held by this process until it is released or the process ends, however it ends.
final class FileLock: Sendable {
    private let descriptor: Int32
    let path: String

    private init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    /// Nil when another holds it.
    /// - Throws: a POSIX error when the file cannot be opened.
    static func tryAcquire(_ path: String) throws -> FileLock? {
        while true {
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: path, "errno": errno]) }
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
                close(descriptor)
                return nil
            }
            // Whoever held it before may have removed the file: then the lock is on something that nobody else can find.
            if isFile(descriptor, at: path) { return FileLock(descriptor: descriptor, path: path) }
            close(descriptor)
        }
    }

    /// Waits for the lock, without blocking a thread.
    static func acquire(_ path: String, timeout: Duration) async throws -> FileLock {
        let deadline = ContinuousClock.now + timeout
        while true {
            if let lock = try tryAcquire(path) { return lock }
            guard ContinuousClock.now < deadline else { throw CocoaError(.fileLocking, userInfo: [NSFilePathErrorKey: path]) }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Waits for the lock and blocks the thread.
    static func acquireBlocking(_ path: String, timeout: Duration) throws -> FileLock {
        let deadline = ContinuousClock.now + timeout
        while true {
            if let lock = try tryAcquire(path) { return lock }
            guard ContinuousClock.now < deadline else { throw CocoaError(.fileLocking, userInfo: [NSFilePathErrorKey: path]) }
            usleep(5_000)
        }
    }

    /// Removes the file while the lock is still held.
    func removeFile() { unlink(path) }

    private static func isFile(_ descriptor: Int32, at path: String) -> Bool {
        var opened = stat()
        var named = stat()
        return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev
    }
}
