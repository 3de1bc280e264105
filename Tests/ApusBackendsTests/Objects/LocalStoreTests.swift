import ApusBackends
import ApusCore
import ApusProtocol
import Foundation
import NIOCore
import Testing

/// What of local files is no promise of the port: what is on the disk, and what a crash leaves there.
@Suite("Objects in local files")
struct LocalStoreTests {
    private static func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }

    private static func files(_ directory: URL, _ folder: String) throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: directory.appending(path: folder).path).sorted()
    }

    private static func put(_ text: String, _ key: String, _ store: LocalObjectStore) async throws {
        try await store.put(try self.key(key), ObjectBody(ByteBuffer(string: text)), type: "text/plain")
    }

    @Test("objects outlive the process; what a call left that a crash interrupted does not")
    func restart() async throws {
        try await withTemporaryDirectory { directory in
            try await Self.put("hello", "a/b/c", try LocalObjectStore(directory: directory))
            let left = directory.appending(path: "incoming/new-of-a-crash")
            try Data("half".utf8).write(to: left)
            let store = try LocalObjectStore(directory: directory)
            let stored = try await store.get(try Self.key("a/b/c"), range: nil)
            #expect(String(buffer: try await stored.body.collect(upTo: 99)) == "hello")
            #expect(try Self.files(directory, "incoming") == [])
            #expect(try Self.files(directory, "objects") == ["a", "a/b", "a/b/c"])
        }
    }

    @Test("an upload in parts goes on after a restart")
    func uploadAfterRestart() async throws {
        try await withTemporaryDirectory { directory in
            let key = try Self.key("film")
            let before = try LocalObjectStore(directory: directory, partBytesMin: 1)
            let upload = try await before.beginUpload(key, type: "video/mp4")
            let first = try await before.uploadPart(1, of: upload, ObjectBody(ByteBuffer(string: "he")))
            let store = try LocalObjectStore(directory: directory, partBytesMin: 1)
            let second = try await store.uploadPart(2, of: upload, ObjectBody(ByteBuffer(string: "llo")))
            try await store.completeUpload(upload, parts: [first, second])
            #expect(String(buffer: try await store.get(key, range: nil).body.collect(upTo: 99)) == "hello")
            #expect(try await store.head(key)?.checksum == ObjectChecksum(of: ByteBuffer(string: "hello")))
        }
    }

    @Test("an upload's id that leads out of the store's directory is no upload")
    func foreignID() async throws {
        try await withTemporaryDirectory { directory in
            let (store, key) = (try LocalObjectStore(directory: directory), try Self.key("film"))
            let upload = try await store.beginUpload(key, type: "video/mp4")
            for id in ["x/../upload-\(upload.id)", "../objects", "\(upload.id)/"] {
                let other = ObjectUpload(key: key, id: id)
                let error = await #expect(throws: ApusError.self) {
                    _ = try await store.uploadPart(1, of: other, ObjectBody(ByteBuffer(string: "x")))
                }
                #expect(error?.code == .notFound)
                try await store.abortUpload(other)
            }
            _ = try await store.uploadPart(1, of: upload, ObjectBody(ByteBuffer(string: "x")))
        }
    }

    @Test("a part that was damaged on the disk is noticed before it becomes an object")
    func damagedPart() async throws {
        try await withTemporaryDirectory { directory in
            let (store, key) = (try LocalObjectStore(directory: directory, partBytesMin: 1), try Self.key("film"))
            let upload = try await store.beginUpload(key, type: "video/mp4")
            let part = try await store.uploadPart(1, of: upload, ObjectBody(ByteBuffer(string: "hello")))
            let file = directory.appending(path: "incoming/upload-\(upload.id)/part-1")
            try Data("hellO".utf8).write(to: file)
            let error = await #expect(throws: ApusError.self) { try await store.completeUpload(upload, parts: [part]) }
            #expect(error?.code == .invalidArgument)
            #expect(try await store.head(key) == nil)
        }
    }

    @Test("a file that is none of ours, or was cut off, is an error and not an object")
    func damagedObject() async throws {
        try await withTemporaryDirectory { directory in
            let store = try LocalObjectStore(directory: directory)
            try await Self.put("hello", "cut", store)
            let path = directory.appending(path: "objects/cut").path
            for length in [1028, 500, 0] {
                #expect(truncate(path, off_t(length)) == 0)
                let error = await #expect(throws: ApusError.self) { _ = try await store.head(try Self.key("cut")) }
                #expect(error?.code == .storeUnavailable)
            }
        }
    }

    @Test("deleting the last object of a folder removes the folder, and its name is free again")
    func folders() async throws {
        try await withTemporaryDirectory { directory in
            let store = try LocalObjectStore(directory: directory)
            try await Self.put("x", "a/b/c", store)
            try await Self.put("x", "a/d", store)
            for (key, folder) in [("a/d/e", "a file"), ("a/b", "a folder")] {
                let error = await #expect(throws: ApusError.self, "\(folder)") { try await Self.put("y", key, store) }
                #expect(error?.code == .conflict)
            }
            #expect(try await store.head(try Self.key("a/b")) == nil)
            try await store.delete(try Self.key("a/b"))
            try await store.delete(try Self.key("a/b/c"))
            #expect(try Self.files(directory, "objects") == ["a", "a/d"])
            try await Self.put("y", "a/b", store)
            #expect(try Self.files(directory, "incoming") == [])
        }
    }

    @Test("objects come and go in one folder at the same time without hurting each other")
    func comingAndGoing() async throws {
        try await withTemporaryDirectory { directory in
            let store = try LocalObjectStore(directory: directory)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        for _ in 0..<20 {
                            try await Self.put("x", "a/b/\(number)", store)
                            try await store.delete(try Self.key("a/b/\(number)"))
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try Self.files(directory, "objects") == [])
        }
    }

    @Test("whoever reads an object keeps it while it is replaced and deleted")
    func readingOn() async throws {
        try await withTemporaryDirectory { directory in
            let store = try LocalObjectStore(directory: directory)
            try await Self.put("old", "k", store)
            let stored = try await store.get(try Self.key("k"), range: nil)
            try await Self.put("brand new", "k", store)
            try await store.delete(try Self.key("k"))
            #expect(String(buffer: try await stored.body.collect(upTo: 99)) == "old")
        }
    }

    @Test("a store with a signer gives out URLs that its signer accepts; one without gives out none")
    func signedURLs() async throws {
        try await withTemporaryDirectory { directory in
            let signer = try ObjectURLSigner(secret: Array(repeating: 7, count: 32), prefix: "http://host/v1/objects")
            let store = try LocalObjectStore(directory: directory, signer: signer)
            let key = try Self.key("a/b")
            let url = try #require(try await store.signedURL(for: .get, of: key, lifetime: .seconds(60)))
            let parts = try #require(URLComponents(string: url))
            #expect(parts.path == "/v1/objects/a/b")
            let query = Dictionary(uniqueKeysWithValues: (parts.queryItems ?? []).map { ($0.name, $0.value ?? "") })
            let permit = try signer.check(method: "GET", object: "a/b", query: query, now: SystemClock().now)
            #expect(permit == ObjectURLSigner.Permit(key: key, access: .get))
            let plain = try LocalObjectStore(directory: directory)
            #expect(try await plain.signedURL(for: .get, of: key, lifetime: .seconds(60)) == nil)
        }
    }
}
