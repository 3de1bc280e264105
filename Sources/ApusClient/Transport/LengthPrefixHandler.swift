import NIOCore

/// The TCP carrier: four bytes of length, big endian, then one message.
final class LengthPrefixHandler: ByteToMessageDecoder {
    typealias InboundOut = ByteBuffer

    struct TooLong: Error {
        var length: Int
    }

    private let bytesMax: Int

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self).map(Int.init) else { return .needMoreData }
        guard length <= bytesMax else { throw TooLong(length: length) }
        guard buffer.readableBytes >= 4 + length else { return .needMoreData }
        buffer.moveReaderIndex(forwardBy: 4)
        guard let message = buffer.readSlice(length: length) else { return .needMoreData }
        context.fireChannelRead(wrapInboundOut(message))
        return .continue
    }

    /// The rest of a connection that ended in the middle of a message is of no use to anybody.
    func decodeLast(context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool) throws -> DecodingState {
        while try decode(context: context, buffer: &buffer) == .continue {}
        return .needMoreData
    }
}

final class LengthPrefixEncoder: MessageToByteEncoder {
    typealias OutboundIn = ByteBuffer

    func encode(data: ByteBuffer, out: inout ByteBuffer) throws {
        out.writeInteger(UInt32(data.readableBytes))
        out.writeImmutableBuffer(data)
    }
}
