import NIOCore
import SwiftProtobuf

extension WirePeerFrame {
    public init(_ body: OneOf_Body) {
        self.init()
        self.body = body
    }

    public func encode(into buffer: inout ByteBuffer) throws { buffer.writeBytes(try serializedBytes() as [UInt8]) }

    /// - Throws: ``FrameError`` when the bytes are no frame.
    public init(decoding bytes: ByteBuffer) throws {
        do {
            try self.init(serializedBytes: Array(bytes.readableBytesView))
        } catch {
            throw FrameError.undecodable(String(describing: error))
        }
    }
}

extension WireRelayBatch {
    /// For a broker, which carries a batch per message.
    public func encoded() throws -> [UInt8] { try serializedBytes() }

    /// - Throws: ``FrameError`` when the bytes are no batch.
    public init(decoding bytes: [UInt8]) throws {
        do {
            try self.init(serializedBytes: bytes)
        } catch {
            throw FrameError.undecodable(String(describing: error))
        }
    }
}
