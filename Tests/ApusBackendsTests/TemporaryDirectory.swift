import ApusBackends
import ApusTesting
import Foundation

/// A directory of the test's own, gone afterwards.
func withTemporaryDirectory<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("apus-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let result: Result<Value, any Error>
    do {
        result = .success(try await body(directory))
    } catch {
        result = .failure(error)
    }
    try FileManager.default.removeItem(at: directory)
    return try result.get()
}

extension SQLiteStore {
    var set: StoreSet {
        StoreSet(
            accounts: accounts, devices: devices, signingKeys: signingKeys, conversations: conversations, log: log, schedule: schedule)
    }
}
