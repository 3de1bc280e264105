import ApusProtocol
import NIOConcurrencyHelpers
import NIOCore

/// Objects in memory, for tests: nothing survives the process, and nothing is ever given back to others than readers.
public final class MemoryObjectStore: ObjectStore, MultipartUploads {
    private struct Object {
        var info: ObjectInfo
        var bytes: ByteBuffer
    }

    private struct Upload {
        var upload: ObjectUpload
        var type: String
        var parts: [Int: ByteBuffer] = [:]
    }

    private struct State {
        var objects: [ObjectKey: Object] = [:]
        var uploads: [String: Upload] = [:]
        var uploadsBegun = 0
    }

    public let partBytesMin: Int64
    private let bytesMax: Int64
    private let clock: any WallClock
    private let signer: ObjectURLSigner?
    private let state = NIOLockedValueBox(State())

    /// - Parameters:
    ///   - bytesMax: of one object.
    ///   - signer: makes the signed URLs; nil: there are none.
    public init(bytesMax: Int64 = 64 << 20, partBytesMin: Int64 = 1, clock: any WallClock = SystemClock(), signer: ObjectURLSigner? = nil) {
        self.bytesMax = bytesMax
        self.partBytesMin = partBytesMin
        self.clock = clock
        self.signer = signer
    }

    public func put(_ key: ObjectKey, _ body: ObjectBody, type: String) async throws {
        try ObjectRules.check(type: type)
        let bytes = try await read(body)
        try store(key, bytes, type: type, checksum: ObjectChecksum(of: bytes))
    }

    public func get(_ key: ObjectKey, range: Range<Int64>?) async throws -> StoredObject {
        guard let object = state.withLockedValue({ $0.objects[key] }) else { throw ObjectRules.notFound(key) }
        let range = try ObjectRules.clamp(range, size: object.info.size)
        let part = object.bytes.getSlice(at: object.bytes.readerIndex + Int(range.lowerBound), length: range.count)
        return StoredObject(info: object.info, range: range, body: ObjectBytes(CollectionOfOne(part ?? ByteBuffer())))
    }

    public func head(_ key: ObjectKey) async throws -> ObjectInfo? { state.withLockedValue { $0.objects[key]?.info } }

    public func delete(_ key: ObjectKey) async throws { state.withLockedValue { _ = $0.objects.removeValue(forKey: key) } }

    public func list(prefix: String, after cursor: String?, limit: Int) async throws -> ObjectPage {
        try ObjectRules.check(prefix: prefix, limit: limit)
        let after = try cursor.map { text in
            guard let key = ObjectKey(text) else { throw ApusError(.invalidArgument, "that is no cursor") }
            return key
        }
        let found = state.withLockedValue { $0.objects }
            .filter { key, _ in key.description.hasPrefix(prefix) && after.map { $0 < key } ?? true }
            .sorted { $0.key < $1.key }
        let items = found.prefix(limit).map { ObjectPage.Item(key: $0, size: $1.info.size, modifiedAt: $1.info.modifiedAt) }
        return ObjectPage(items: items, next: found.count > limit ? items.last?.key.description : nil)
    }

    public func signedURL(for access: ObjectAccess, of key: ObjectKey, lifetime: Duration) async throws -> String? {
        try ObjectRules.check(access, lifetime: lifetime)
        return signer?.url(for: access, of: key, expiresAt: clock.now + lifetime)
    }

    // MARK: In parts

    public func beginUpload(_ key: ObjectKey, type: String) async throws -> ObjectUpload {
        try ObjectRules.check(type: type)
        return state.withLockedValue { state in
            state.uploadsBegun += 1
            let upload = ObjectUpload(key: key, id: String(state.uploadsBegun))
            state.uploads[upload.id] = Upload(upload: upload, type: type)
            return upload
        }
    }

    public func uploadPart(_ number: Int, of upload: ObjectUpload, _ body: ObjectBody) async throws -> UploadedPart {
        try ObjectRules.check(partNumber: number)
        let bytes = try await read(body)
        try state.withLockedValue { state in
            guard state.uploads[upload.id]?.upload == upload else { throw ObjectRules.notFound(upload) }
            state.uploads[upload.id]?.parts[number] = bytes
        }
        return UploadedPart(number: number, size: body.size, tag: ObjectChecksum(of: bytes).description)
    }

    public func completeUpload(_ upload: ObjectUpload, parts: [UploadedPart]) async throws {
        try ObjectRules.check(parts, partBytesMin: partBytesMin)
        guard let known = state.withLockedValue({ $0.uploads[upload.id] }), known.upload == upload else {
            throw ObjectRules.notFound(upload)
        }
        var all = ByteBuffer()
        for part in parts {
            guard let bytes = known.parts[part.number], ObjectChecksum(of: bytes).description == part.tag else {
                throw ApusError(.invalidArgument, "part \(part.number) is not what was uploaded")
            }
            guard Int64(all.readableBytes + bytes.readableBytes) <= bytesMax else { throw tooLarge }
            all.writeImmutableBuffer(bytes)
        }
        try store(upload.key, all, type: known.type, checksum: ObjectChecksum(of: all))
        try await abortUpload(upload)
    }

    public func abortUpload(_ upload: ObjectUpload) async throws {
        state.withLockedValue { state in
            if state.uploads[upload.id]?.upload == upload { state.uploads[upload.id] = nil }
        }
    }

    // MARK: Inside

    private var tooLarge: ApusError { ApusError(.tooLarge, "an object in memory has at most \(bytesMax) bytes") }

    private func read(_ body: ObjectBody) async throws -> ByteBuffer {
        try ObjectRules.check(body)
        guard body.size <= bytesMax else { throw tooLarge }
        return try await body.checkedBytes.collect(upTo: Int(bytesMax))
    }

    private func store(_ key: ObjectKey, _ bytes: ByteBuffer, type: String, checksum: ObjectChecksum) throws {
        let info = ObjectInfo(size: Int64(bytes.readableBytes), type: type, checksum: checksum, modifiedAt: clock.now)
        try state.withLockedValue { state in
            try Self.checkFolders(key, among: state.objects.keys)
            state.objects[key] = Object(info: info, bytes: bytes)
        }
    }

    private static func checkFolders(_ key: ObjectKey, among keys: some Sequence<ObjectKey>) throws {
        for other in keys where other.description.hasPrefix("\(key)/") || key.description.hasPrefix("\(other)/") {
            throw ApusError(.conflict, "\(key) and \(other) cannot both be objects")
        }
    }
}
