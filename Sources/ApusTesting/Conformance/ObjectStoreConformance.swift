import ApusCore
import ApusProtocol
import NIOCore

/// A store, and a folder in it that nothing has been put into.
public struct ObjectStoreSubject: Sendable {
    public var store: any ObjectStore & MultipartUploads
    public var folder: String

    public init(store: any ObjectStore & MultipartUploads, folder: String) {
        self.store = store
        self.folder = folder
    }

    fileprivate func key(_ name: String) throws -> ObjectKey { try require(ObjectKey("\(folder)/\(name)"), "a key") }

    fileprivate func read(_ key: ObjectKey, _ range: Range<Int64>? = nil) async throws -> String {
        String(buffer: try await store.get(key, range: range).body.collect(upTo: 64 << 20))
    }
}

/// The promises of ``ObjectStore``.
public enum ObjectStoreConformance {
    public static let cases: [ConformanceCase<ObjectStoreSubject>] = [
        .init("what was put comes back with its type, size and checksum, and is replaced as a whole", putAndGet),
        .init("a body from a stream comes back byte for byte, with nothing of it known before", streamed),
        .init("an object may be empty", empty),
        .init("a range has the bytes that are there, and none is refused", ranges),
        .init("a body that is not what it says about itself changes nothing", wrongBodies),
        .init("what is not there is not found, and deleting it is nothing", missing),
        .init("a list has each object with the prefix once, page by page", list),
        .init("readers see one whole object or another while it is replaced", replacing),
        .init("what cannot be is refused before anything is done", refusals),
    ]

    private static func body(_ text: String) -> ObjectBody { ObjectBody(ByteBuffer(string: text)) }

    private static func putAndGet(_ subject: ObjectStoreSubject) async throws {
        let (store, key) = (subject.store, try subject.key("first.txt"))
        try await store.put(key, body("hello"), type: "text/plain; charset=utf-8")
        let stored = try await store.get(key, range: nil)
        try expectEqual(stored.range, 0..<5, "the range of all of it")
        try expectEqual(String(buffer: try await stored.body.collect(upTo: 100)), "hello", "the bytes")
        let info = try require(try await store.head(key), "the object's head")
        try expectEqual(info, stored.info, "head and get")
        try expectEqual(info.size, 5, "the size")
        try expectEqual(info.type, "text/plain; charset=utf-8", "the type")
        try expectEqual(info.checksum, ObjectChecksum(of: ByteBuffer(string: "hello")), "the checksum")

        try await store.put(key, body("hi"), type: "text/html")
        try expectEqual(try await subject.read(key), "hi", "the bytes of the second")
        let second = try require(try await store.head(key), "the second's head")
        try expectEqual([String(second.size), second.type], ["2", "text/html"], "size and type of the second")
        try expectEqual(second.checksum, ObjectChecksum(of: ByteBuffer(string: "hi")), "the checksum of the second")
    }

    private static func streamed(_ subject: ObjectStoreSubject) async throws {
        let key = try subject.key("large")
        // Pieces of odd sizes, 1.5 MB in all.
        let pieces = (0..<300).map { ByteBuffer(repeating: UInt8($0 & 0xFF), count: 4999 + $0 % 7) }
        var expected = ByteBuffer()
        for piece in pieces { expected.writeImmutableBuffer(piece) }
        try await subject.store.put(
            key, ObjectBody(size: Int64(expected.readableBytes), ObjectBytes(pieces)), type: "application/octet-stream")
        let stored = try await subject.store.get(key, range: nil)
        try expect(try await stored.body.collect(upTo: 2 << 20) == expected, "the bytes are other ones")
        // With its checksum known beforehand.
        let checksum = ObjectChecksum(of: expected)
        try await subject.store.put(
            key, ObjectBody(size: Int64(expected.readableBytes), checksum: checksum, ObjectBytes(pieces)),
            type: "application/octet-stream")
        try expectEqual(try await subject.store.head(key)?.checksum, checksum, "the checksum")
    }

    private static func empty(_ subject: ObjectStoreSubject) async throws {
        let key = try subject.key("empty")
        try await subject.store.put(key, body(""), type: "text/plain")
        try expectEqual(try await subject.read(key), "", "the bytes")
        try expectEqual(try await subject.store.head(key)?.size, 0, "the size")
        try await expectRefusal(.invalidArgument, "a range of nothing") { _ = try await subject.store.get(key, range: 0..<1) }
    }

    private static func ranges(_ subject: ObjectStoreSubject) async throws {
        let key = try subject.key("digits")
        try await subject.store.put(key, body("0123456789"), type: "text/plain")
        for (range, expected) in [(0..<1, "0"), (3..<6, "345"), (9..<10, "9"), (0..<10, "0123456789"), (7..<99, "789")] {
            let range = Int64(range.lowerBound)..<Int64(range.upperBound)
            let stored = try await subject.store.get(key, range: range)
            try expectEqual(String(buffer: try await stored.body.collect(upTo: 100)), expected, "bytes \(range)")
            try expectEqual(stored.range, range.clamped(to: 0..<10), "the range of \(range)")
            try expectEqual(stored.info.size, 10, "the size of the whole")
        }
        for range in [10..<11, 50..<60, 5..<5] as [Range<Int64>] {
            try await expectRefusal(.invalidArgument, "bytes \(range)") { _ = try await subject.store.get(key, range: range) }
        }
    }

    private static func wrongBodies(_ subject: ObjectStoreSubject) async throws {
        let (key, other) = (try subject.key("kept"), try subject.key("never"))
        try await subject.store.put(key, body("kept"), type: "text/plain")
        let text = ObjectBytes([ByteBuffer(string: "four"), ByteBuffer(string: "teen bytes")])
        let wrong = [
            ObjectBody(size: 13, text), ObjectBody(size: 15, text),
            ObjectBody(size: 14, checksum: ObjectChecksum(of: ByteBuffer(string: "fourteen byteZ")), text),
        ]
        for body in wrong {
            for key in [key, other] {
                try await expectRefusal(.invalidArgument, "a wrong body of \(body.size)") {
                    try await subject.store.put(key, body, type: "text/plain")
                }
            }
        }
        try expectEqual(try await subject.read(key), "kept", "the object that was there")
        try expectEqual(try await subject.store.head(other), nil, "the object that was not there")
    }

    private static func missing(_ subject: ObjectStoreSubject) async throws {
        let key = try subject.key("folder/nothing")
        try expectEqual(try await subject.store.head(key), nil, "head")
        try await expectRefusal(.notFound, "get") { _ = try await subject.store.get(key, range: nil) }
        try await expectRefusal(.notFound, "get of a range") { _ = try await subject.store.get(key, range: 0..<1) }
        try await subject.store.delete(key)
        try await subject.store.put(key, body("x"), type: "text/plain")
        try await subject.store.delete(key)
        try await subject.store.delete(key)
        try expectEqual(try await subject.store.head(key), nil, "head after the deletion")
    }

    private static func list(_ subject: ObjectStoreSubject) async throws {
        let names = ["a/1", "a/2", "a/b/3", "a-b/4", "a.5", "ab", "b/6", "b/7", "c"]
        for name in names { try await subject.store.put(try subject.key(name), body(name), type: "text/plain") }
        let prefixes = ["": names, "a": Array(names.prefix(6)), "a/": Array(names.prefix(3)), "a/b/": ["a/b/3"], "b/6": ["b/6"], "x": []]
        for (prefix, expected) in prefixes {
            for limit in [1, 2, 3, 1000] {
                let found = try await all(subject, prefix: prefix, limit: limit)
                let keys = try expected.map { try subject.key($0) }
                try expectEqual(found.map(\.key).sorted(), keys.sorted(), "what begins with '\(prefix)' in pages of \(limit)")
                for item in found {
                    let name = item.key.description.dropFirst(subject.folder.count + 1)
                    try expectEqual(item.size, Int64(name.count), "the size of \(name)")
                }
            }
        }
        // Cleaning up: what is on a page is deleted before the next one is asked for.
        var cursor: String?
        repeat {
            let page = try await subject.store.list(prefix: "\(subject.folder)/", after: cursor, limit: 2)
            for item in page.items { try await subject.store.delete(item.key) }
            cursor = page.next
        } while cursor != nil
        try expectEqual(try await all(subject, prefix: "", limit: 10).map(\.key), [], "what is left after the cleaning up")
    }

    private static func all(_ subject: ObjectStoreSubject, prefix: String, limit: Int) async throws -> [ObjectPage.Item] {
        var (items, cursor): ([ObjectPage.Item], String?) = ([], nil)
        for _ in 0..<100 {
            let page = try await subject.store.list(prefix: "\(subject.folder)/\(prefix)", after: cursor, limit: limit)
            try expect(page.items.count <= limit, "a page of \(page.items.count) instead of \(limit)")
            items += page.items
            guard let next = page.next else { return items }
            cursor = next
        }
        throw ConformanceFailure("the list does not end", #fileID, #line)
    }

    private static func replacing(_ subject: ObjectStoreSubject) async throws {
        let key = try subject.key("changing")
        @Sendable func text(_ number: Int) -> String { String(repeating: String(number), count: 50_000 + number) }
        try await subject.store.put(key, body(text(0)), type: "text/plain")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 1...4 {
                group.addTask { for _ in 0..<5 { try await subject.store.put(key, body(text(writer)), type: "text/plain") } }
            }
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<10 {
                        let found = try await subject.read(key)
                        let number = try require(found.first?.wholeNumberValue, "an object")
                        try expect(found == text(number), "a mixture of two objects")
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private static func refusals(_ subject: ObjectStoreSubject) async throws {
        let (store, key) = (subject.store, try subject.key("x"))
        for text in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "A", "a b", "ä", "a\0", String(repeating: "a", count: 129)] {
            try expect(ObjectKey(text) == nil, "'\(text)' is a key")
        }
        for type in ["", "text", "text/plain\r\nx-evil: 1", "text/ä"] {
            try await expectRefusal(.invalidArgument, "the type \(type)") { try await store.put(key, body("x"), type: type) }
            try await expectRefusal(.invalidArgument, "the type \(type)") { _ = try await store.beginUpload(key, type: type) }
        }
        for limit in [0, 1001] {
            try await expectRefusal(.invalidArgument, "a page of \(limit)") {
                _ = try await store.list(prefix: "", after: nil, limit: limit)
            }
        }
        try await expectRefusal(.invalidArgument, "a prefix") { _ = try await store.list(prefix: "../", after: nil, limit: 1) }
        for lifetime in [Duration.zero, .seconds(8 * 24 * 3600)] {
            try await expectRefusal(.invalidArgument, "a lifetime of \(lifetime)") {
                _ = try await store.signedURL(for: .get, of: key, lifetime: lifetime)
            }
        }
        try await expectRefusal(.tooLarge, "a body of 6 GiB") {
            try await store.put(key, ObjectBody(size: 6 << 30, ObjectBytes([])), type: "text/plain")
        }
        try expectEqual(try await store.head(key), nil, "the object")
    }
}
