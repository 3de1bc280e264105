import ApusCore
import ApusProtocol
import NIOCore

/// The promises of ``MultipartUploads``.
public enum MultipartUploadConformance {
    public static let cases: [ConformanceCase<ObjectStoreSubject>] = [
        .init("parts in any order become one object, which is not there before", parts),
        .init("a part sent again replaces the one before", replacedPart),
        .init("parts that are missing, small or other ones are refused, and the upload goes on", wrongParts),
        .init("an upload that is over takes nothing more", over),
    ]

    private static func key(_ subject: ObjectStoreSubject, _ name: String) throws -> ObjectKey {
        try require(ObjectKey("\(subject.folder)/\(name)"), "a key")
    }

    private static func buffer(_ letter: Character, _ count: Int64) -> ByteBuffer {
        ByteBuffer(repeating: letter.asciiValue ?? 0, count: Int(count))
    }

    private static func parts(_ subject: ObjectStoreSubject) async throws {
        let (store, key, size) = (subject.store, try key(subject, "film"), subject.store.partBytesMin)
        let upload = try await store.beginUpload(key, type: "video/mp4")
        let last = try await store.uploadPart(9, of: upload, ObjectBody(buffer("c", 3)))
        // From a stream, with nothing known beforehand.
        let first = try await store.uploadPart(2, of: upload, ObjectBody(size: size, ObjectBytes([buffer("a", 1), buffer("a", size - 1)])))
        let middle = try await store.uploadPart(7, of: upload, ObjectBody(buffer("b", size + 1)))
        try expectEqual(try await store.head(key), nil, "the object before the end")
        try await store.completeUpload(upload, parts: [first, middle, last])
        let stored = try await store.get(key, range: nil)
        try expectEqual(stored.info.type, "video/mp4", "the type")
        try expectEqual(stored.info.size, 2 * size + 4, "the size")
        var expected = buffer("a", size)
        expected.writeImmutableBuffer(buffer("b", size + 1))
        expected.writeImmutableBuffer(buffer("c", 3))
        try expect(try await stored.body.collect(upTo: 64 << 20) == expected, "the bytes are other ones")
        let seam = try await store.get(key, range: (2 * size)..<(2 * size + 9))
        try expectEqual(String(buffer: try await seam.body.collect(upTo: 9)), "bccc", "the last bytes")
    }

    private static func replacedPart(_ subject: ObjectStoreSubject) async throws {
        let (store, key) = (subject.store, try key(subject, "picture"))
        let upload = try await store.beginUpload(key, type: "image/png")
        _ = try await store.uploadPart(1, of: upload, ObjectBody(buffer("a", 10)))
        let again = try await store.uploadPart(1, of: upload, ObjectBody(buffer("b", 5)))
        try await store.completeUpload(upload, parts: [again])
        let stored = try await store.get(key, range: nil)
        try expectEqual(String(buffer: try await stored.body.collect(upTo: 99)), "bbbbb", "the bytes")
    }

    private static func wrongParts(_ subject: ObjectStoreSubject) async throws {
        let (store, key, size) = (subject.store, try key(subject, "wrong"), subject.store.partBytesMin)
        let upload = try await store.beginUpload(key, type: "image/png")
        let first = try await store.uploadPart(1, of: upload, ObjectBody(buffer("a", size)))
        let small = try await store.uploadPart(2, of: upload, ObjectBody(buffer("b", max(0, size - 1))))
        let last = try await store.uploadPart(3, of: upload, ObjectBody(buffer("c", 5)))
        let otherTag = UploadedPart(number: 1, size: size, tag: last.tag)
        let absent = UploadedPart(number: 4, size: 5, tag: last.tag)
        for parts in [[], [last, first], [first, first], [first, small, last], [otherTag, last], [first, last, absent]] {
            try await expectRefusal(.invalidArgument, "parts \(parts.map(\.number))") {
                try await store.completeUpload(upload, parts: parts)
            }
        }
        for number in [0, 10_001] {
            try await expectRefusal(.invalidArgument, "part \(number)") {
                _ = try await store.uploadPart(number, of: upload, ObjectBody(buffer("a", 1)))
            }
        }
        try await expectRefusal(.invalidArgument, "a part with other bytes than it says") {
            _ = try await store.uploadPart(1, of: upload, ObjectBody(size: 3, ObjectBytes([buffer("a", 2)])))
        }
        try expectEqual(try await store.head(key), nil, "the object")
        try await store.completeUpload(upload, parts: [first, last])
        try expectEqual(try await store.head(key)?.size, size + 5, "the size in the end")
    }

    private static func over(_ subject: ObjectStoreSubject) async throws {
        let (store, key) = (subject.store, try key(subject, "over"))
        let aborted = try await store.beginUpload(key, type: "image/png")
        let part = try await store.uploadPart(1, of: aborted, ObjectBody(buffer("a", 5)))
        try await store.abortUpload(aborted)
        try await store.abortUpload(aborted)
        try await expectOver(aborted, part, store)
        try expectEqual(try await store.head(key), nil, "the object of an aborted upload")

        let upload = try await store.beginUpload(key, type: "image/png")
        try await store.completeUpload(upload, parts: [try await store.uploadPart(1, of: upload, ObjectBody(buffer("b", 5)))])
        try await expectRefusal(.notFound, "one more part") { _ = try await store.uploadPart(1, of: upload, ObjectBody(buffer("a", 9))) }
        do {
            try await store.completeUpload(upload, parts: [part])
        } catch let error as ApusError where error.code == .notFound {
            // Both are allowed, as long as nothing changes.
        }
        try await store.abortUpload(upload)
        let stored = try await store.get(key, range: nil)
        try expectEqual(String(buffer: try await stored.body.collect(upTo: 99)), "bbbbb", "the object after all that")
        for id in ["", "00000000-0000-0000-0000-000000000000"] {
            try await expectOver(ObjectUpload(key: key, id: id), part, store)
        }
    }

    private static func expectOver(_ upload: ObjectUpload, _ part: UploadedPart, _ store: any MultipartUploads) async throws {
        try await expectRefusal(.notFound, "one more part") { _ = try await store.uploadPart(1, of: upload, ObjectBody(buffer("a", 5))) }
        try await expectRefusal(.notFound, "completing it") { try await store.completeUpload(upload, parts: [part]) }
    }
}
