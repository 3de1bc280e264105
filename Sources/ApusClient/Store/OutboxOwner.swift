import ApusProtocol
import Foundation
import NIOConcurrencyHelpers

/// Which client an outbox row belongs to. Clients may share a directory, each sends its own rows; a lock on a file tells the others
/// that the owner lives, and the rows of one that does not may be taken over.
final class OutboxOwner: Sendable {
    let name: String
    private let directory: URL?
    private let lock: NIOLockedValueBox<FileLock?>

    /// - Parameter directory: nil: the store is in memory and this is its only client.
    init(directory: URL?) throws {
        name = UUID().uuidString
        self.directory = directory
        guard let directory else {
            lock = NIOLockedValueBox(nil)
            return
        }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        guard let lock = try FileLock.tryAcquire(directory.appending(path: name).path) else {
            throw ApusError(.localStore, "another client took the name of this one")
        }
        self.lock = NIOLockedValueBox(lock)
    }

    /// Runs `body` for each of these owners that has ended, with its lock held, so that only one client takes its rows over.
    func forEachDead(of owners: [String], _ body: (String) throws -> Void) throws {
        guard let directory else { return }
        for owner in owners where owner != name {
            guard let lock = try FileLock.tryAcquire(directory.appending(path: owner).path) else { continue }
            try body(owner)
            lock.removeFile()
        }
    }

    /// Removes the files of clients that ended without one.
    func removeDeadFiles() throws {
        guard let directory else { return }
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        for owner in names where owner != name {
            try FileLock.tryAcquire(directory.appending(path: owner).path)?.removeFile()
        }
    }

    /// From now on others may take the rows over.
    func release() {
        lock.withLockedValue { lock in
            lock?.removeFile()
            lock = nil
        }
    }

    deinit { release() }
}
