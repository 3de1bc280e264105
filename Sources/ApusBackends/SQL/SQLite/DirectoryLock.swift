import Foundation
import NIOConcurrencyHelpers

/// Keeps other processes off a data directory for as long as it lives: `flock` on a file in it, which the kernel lets go when
/// the process ends, however it ends.
final class DirectoryLock: Sendable {
    private let descriptor: NIOLockedValueBox<Int32?>

    /// Makes the directory if there is none; only its owner may read it.
    init(directory: URL) throws(StoreOpenError) {
        do {
            try FileManager.default.createDirectory(
                at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw StoreOpenError(.unusable, directory.path, "the directory cannot be made: \(error.localizedDescription)")
        }
        let path = directory.appendingPathComponent("apus.lock").path
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StoreOpenError(.unusable, directory.path, "the lock file cannot be opened: \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            close(descriptor)
            guard reason == EWOULDBLOCK else {
                throw StoreOpenError(.unusable, directory.path, "the lock file cannot be locked: \(String(cString: strerror(reason)))")
            }
            throw StoreOpenError(.inUse, directory.path, "another Apus server runs on this directory")
        }
        self.descriptor = NIOLockedValueBox(descriptor)
    }

    deinit { release() }

    func release() {
        descriptor.withLockedValue { descriptor in
            if let open = descriptor { close(open) }
            descriptor = nil
        }
    }
}
