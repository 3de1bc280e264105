import ApusCore
import ApusProtocol
import Foundation
import NIOCore

/// An upload is a directory: its key and type, and a file per part. It survives a restart; a part that a loss of power damaged is noticed by its
/// tag, which is its checksum.
extension LocalObjectStore: MultipartUploads {
    private struct Description: Codable {
        var key: String
        var type: String
    }

    public func beginUpload(_ key: ObjectKey, type: String) async throws -> ObjectUpload {
        try ObjectRules.check(type: type)
        let upload = ObjectUpload(key: key, id: UUID().uuidString.lowercased())
        let new = newPath()
        let directory = directory(upload)
        let description = ByteBuffer(bytes: try JSONEncoder().encode(Description(key: key.description, type: type)))
        try await threads.runIfActive {
            _ = try LocalFile.makeDirectory(new)
            try LocalFile.creating("\(new)/upload.json").write(description)
            guard try LocalFile.rename(new, to: directory) else { throw ApusError(.storeUnavailable, "a new upload is gone") }
        }
        return upload
    }

    public func uploadPart(_ number: Int, of upload: ObjectUpload, _ body: ObjectBody) async throws -> UploadedPart {
        try ObjectRules.check(partNumber: number)
        try ObjectRules.check(body, bytesMax: ObjectRules.partBytesMax)
        _ = try await type(of: upload)
        let new = newPath()
        do {
            let (_, checksum) = try await write(body.checkedBytes, to: new)
            let path = path(number, upload)
            guard try await threads.runIfActive({ try LocalFile.rename(new, to: path) }) else { throw ObjectRules.notFound(upload) }
            return UploadedPart(number: number, size: body.size, tag: checksum.description)
        } catch {
            discard(new)
            throw error
        }
    }

    public func completeUpload(_ upload: ObjectUpload, parts: [UploadedPart]) async throws {
        try ObjectRules.check(parts, partBytesMin: partBytesMin)
        let type = try await type(of: upload)
        try await store(upload.key, bytes(of: parts, upload), type: type)
        try await abortUpload(upload)
    }

    public func abortUpload(_ upload: ObjectUpload) async throws {
        guard UUID(uuidString: upload.id) != nil else { return }
        let (directory, gone) = (directory(upload), newPath())
        // Under another name no part can come in while it is removed.
        if try await threads.runIfActive({ try LocalFile.rename(directory, to: gone) }) { discard(gone) }
    }

    // MARK: Inside

    private func directory(_ upload: ObjectUpload) -> String { "\(incoming)/upload-\(upload.id)" }

    private func path(_ part: Int, _ upload: ObjectUpload) -> String { "\(directory(upload))/part-\(part)" }

    private func type(of upload: ObjectUpload) async throws -> String {
        guard let description = try await description(upload) else { throw ObjectRules.notFound(upload) }
        return description.type
    }

    private func description(_ upload: ObjectUpload) async throws -> Description? {
        // An id comes from outside, and goes into a path.
        guard UUID(uuidString: upload.id) != nil else { return nil }
        let path = "\(directory(upload))/upload.json"
        let text = try await threads.runIfActive { try LocalFile.reading(path)?.read(at: 0, count: 4096) }
        guard let text else { return nil }
        do {
            let description = try JSONDecoder().decode(Description.self, from: Data(text.readableBytesView))
            return description.key == upload.key.description ? description : nil
        } catch {
            throw ApusError(.storeUnavailable, "an upload is damaged: abort it", cause: error)
        }
    }

    /// The parts behind each other, each checked as it goes by.
    private func bytes(of parts: [UploadedPart], _ upload: ObjectUpload) -> ObjectBytes {
        ObjectBytes { [self] in
            var waiting = parts[...]
            var current: ObjectBytes.AsyncIterator?
            return {
                while true {
                    if let piece = try await current?.next() { return piece }
                    guard let part = waiting.popFirst() else { return nil }
                    current = try await self.bytes(of: part, upload).makeAsyncIterator()
                }
            }
        }
    }

    private func bytes(of part: UploadedPart, _ upload: ObjectUpload) async throws -> ObjectBytes {
        let path = path(part.number, upload)
        let wrong = ApusError(.invalidArgument, "part \(part.number) is not what was uploaded")
        guard let checksum = ObjectChecksum(part.tag) else { throw wrong }
        let file: LocalFile? = try await threads.runIfActive {
            guard let file = try LocalFile.reading(path), try file.status()?.size == part.size else { return nil }
            return file
        }
        guard let file else { throw wrong }
        return ObjectBody(size: part.size, checksum: checksum, bytes(of: file, 0..<part.size)).checkedBytes
    }
}
