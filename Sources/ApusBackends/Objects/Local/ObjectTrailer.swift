import ApusProtocol
import Foundation
import NIOCore

/// What is known of an object beside its bytes, at the end of its file: JSON, filled up with spaces to a fixed size. Being in the same file
/// it cannot be lost or mixed up, and most programs open the file of a picture in spite of it.
struct ObjectTrailer: Codable {
    static let bytes = 1024

    var format = 1
    var type: String
    /// SHA-256, in hexadecimal digits.
    var checksum: String

    init(type: String, checksum: String) {
        self.type = type
        self.checksum = checksum
    }

    func encoded() throws -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var buffer = ByteBuffer(bytes: try encoder.encode(self))
        guard buffer.readableBytes < Self.bytes else { throw ApusError(.internal, "an object's trailer is too long") }
        buffer.writeRepeatingByte(UInt8(ascii: " "), count: Self.bytes - 1 - buffer.readableBytes)
        buffer.writeInteger(UInt8(ascii: "\n"))
        return buffer
    }

    /// - Throws: ``ApusError`` `store_unavailable`.
    static func decode(_ buffer: ByteBuffer) throws -> ObjectTrailer {
        do {
            let trailer = try JSONDecoder().decode(ObjectTrailer.self, from: Data(buffer.readableBytesView))
            guard trailer.format == 1 else { throw ApusError(.internal, "format \(trailer.format)") }
            return trailer
        } catch {
            throw ApusError(.storeUnavailable, "an object's file is damaged, or none of ours", cause: error)
        }
    }
}
