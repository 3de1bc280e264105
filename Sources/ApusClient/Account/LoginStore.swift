import ApusProtocol
import Foundation
import NIOConcurrencyHelpers

/// A login with its tokens.
struct StoredLogin: Sendable, Codable, Hashable {
    var info: LoginInfo
    var accessToken: String
    /// When to get a new one: some time before the server stops accepting it.
    var refreshAt: Date
    var refreshToken: String
}

/// Keeps the login: in a file that only the user can read, or in memory.
final class LoginStore: Sendable {
    private enum Place: Sendable {
        case memory(NIOLockedValueBox<(login: StoredLogin?, isLocked: Bool)>)
        case file(URL)
    }

    private let place: Place

    /// - Parameter directory: nil: in memory.
    init(directory: URL?) {
        place = directory.map { .file($0.appending(path: "login.json")) } ?? .memory(NIOLockedValueBox((nil, false)))
    }

    /// Nil when nobody is logged in.
    func load() throws -> StoredLogin? {
        switch place {
        case .memory(let box): return box.withLockedValue { $0.login }
        case .file(let url):
            do {
                return try JSONDecoder().decode(StoredLogin.self, from: try Data(contentsOf: url))
            } catch let error as CocoaError where error.code == .fileReadNoSuchFile || error.code == .fileNoSuchFile {
                return nil
            } catch {
                throw ApusError(.localStore, "the stored login cannot be read; log in again", cause: error)
            }
        }
    }

    func save(_ login: StoredLogin?) throws {
        switch place {
        case .memory(let box): box.withLockedValue { $0.login = login }
        case .file(let url):
            do { try Self.replace(url, login) } catch { throw ApusError(.localStore, "the login cannot be stored", cause: error) }
        }
    }

    /// Runs `body` while no other client of the directory, here or in another process, is in here.
    func withLock<T: Sendable>(timeout: Duration, _ body: @Sendable () async throws -> T) async throws -> T {
        switch place {
        case .memory(let box):
            let deadline = ContinuousClock.now + timeout
            while box.withLockedValue({ state in
                let wasLocked = state.isLocked
                state.isLocked = true
                return wasLocked
            }) {
                guard ContinuousClock.now < deadline else { throw ApusError(.timedOut, "another refresh of the tokens takes too long") }
                try await Task.sleep(for: .milliseconds(5))
            }
            defer { box.withLockedValue { $0.isLocked = false } }
            return try await body()
        case .file(let url):
            let lock: FileLock
            do {
                lock = try await FileLock.acquire(url.deletingPathExtension().appendingPathExtension("lock").path, timeout: timeout)
            } catch let error as CocoaError {
                throw ApusError(.timedOut, "another client holds the lock of the login", cause: error)
            }
            defer { withExtendedLifetime(lock) {} }
            return try await body()
        }
    }

    /// In one step, so that whoever reads at the same time sees the old login or the new one.
    private static func replace(_ url: URL, _ login: StoredLogin?) throws {
        guard let login else {
            if FileManager.default.fileExists(atPath: url.path) { try FileManager.default.removeItem(at: url) }
            return
        }
        let new = url.appendingPathExtension("new-\(UUID().uuidString)")
        let data = try JSONEncoder().encode(login)
        guard FileManager.default.createFile(atPath: new.path, contents: data, attributes: [.posixPermissions: 0o600]) else {
            throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: new.path])
        }
        guard rename(new.path, url.path) == 0 else {
            unlink(new.path)
            throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: url.path, "errno": errno])
        }
    }
}
