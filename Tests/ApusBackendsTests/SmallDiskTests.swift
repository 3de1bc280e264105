import ApusCore
import ApusProtocol
import Foundation
import Testing

@testable import ApusBackends

/// A disk that is really full. Needs a file system of a few megabytes, which only root can make; `make test` does where it can.
@Suite struct SmallDiskTests {
    static let disk = ProcessInfo.processInfo.environment["APUS_TEST_SMALL_DISK"]

    @Test(
        "when the disk is full nothing acknowledged is lost, and when it has room again sends go on",
        .enabled(if: Self.disk != nil, "APUS_TEST_SMALL_DISK does not name the directory of a small file system of its own"))
    func fullDisk() async throws {
        let disk = URL(fileURLWithPath: try #require(Self.disk))
        let directory = disk.appendingPathComponent("data-\(UUID().uuidString)")
        let filler = disk.appendingPathComponent("filler")
        defer {
            try? FileManager.default.removeItem(at: directory)
            try? FileManager.default.removeItem(at: filler)
        }
        var options = SQLiteLogTests.eager
        options.checkpointPages = 20
        let store = try SQLiteStore(directory: directory, options: options)
        try SQLiteLogTests.makeGroups(1...1, in: store)
        let body = String(repeating: "x", count: 1000)
        var acknowledged: [String] = []
        var refusals = 0
        for round in 0..<5 {
            try fill(filler)
            var isRefused = false
            for index in 0..<2000 where !isRefused {
                let entry = SQLiteLogTests.entry(1, round * 10_000 + index, body: "\(round) \(index) \(body)")
                do {
                    let outcome = try store.log.append([entry])[0]
                    guard case .appended(let seq, _) = outcome else { Issue.record("\(outcome)"); return }
                    acknowledged.append(entry.body)
                    #expect(seq == UInt64(acknowledged.count + 1))
                } catch let error as ApusError {
                    #expect(error.code == .storeUnavailable)
                    isRefused = true
                    refusals += 1
                }
            }
            try #require(isRefused, "the disk was never full")
            #expect(try await bodies(store) == acknowledged, "what is read while the disk is full")
            try FileManager.default.removeItem(at: filler)
            let entry = SQLiteLogTests.entry(1, round * 10_000 + 9_999, body: "after \(round)")
            guard case .appended = try store.log.append([entry])[0] else { Issue.record("no room after all"); return }
            acknowledged.append(entry.body)
        }
        #expect(refusals == 5)
        #expect(try await bodies(store) == acknowledged)
        #expect(try await store.check() == [])
        try store.close()
        let reopened = try SQLiteStore(directory: directory, options: options)
        #expect(try await bodies(reopened) == acknowledged, "what is read after a restart")
        try reopened.close()
    }

    private func bodies(_ store: SQLiteStore) async throws -> [String] {
        try await store.log.entries(of: ConversationID(1), in: 2 ... .max, limit: .max, bytesMax: .max).map(\.body)
    }

    /// Writes until the disk has no room for another page.
    private func fill(_ file: URL) throws {
        #expect(FileManager.default.createFile(atPath: file.path, contents: nil))
        let handle = try FileHandle(forWritingTo: file)
        defer { try? handle.close() }
        for size in [65_536, 4_096, 512] {
            while (try? handle.write(contentsOf: Data(repeating: 1, count: size))) != nil {}
        }
    }
}
