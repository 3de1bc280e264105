import ApusProtocol
import ArgumentParser
import Foundation
import NIOCore
import SwiftProtobuf

struct CodecBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "codec", abstract: "Nanoseconds to encode and decode the hot frames, by hand and by SwiftProtobuf.")

    @Option(help: "Bytes of the body.")
    var body = 100

    func run() throws {
        let text = String(String(repeating: "Wer kann fliegen? ", count: body / 18 + 1).prefix(body))
        let id = UInt64(7_123_456_789_012_345_678)
        let send = SendFrame(ref: 7, conversation: ConversationID(id), clientID: "0190c2b9a1e47f00", body: text)
        let ack = AckFrame(
            ref: 7, conversation: ConversationID(id), clientID: "0190c2b9a1e47f00", id: EntryID(id + 1), seq: 4711,
            at: Timestamp(milliseconds: 1_800_000_000_000))
        let entry = Entry(
            conversation: ConversationID(id), seq: 4711, id: EntryID(id + 1), sender: AccountID(id + 2),
            at: Timestamp(milliseconds: 1_800_000_000_000), kind: .text, body: text)
        report(
            "frame".padded(8) + "encoding".padded(10) + ["bytes", "encode", "oracle", "decode", "oracle"].map { $0.leftPadded(9) }.joined())
        for encoding in FrameEncoding.allCases {
            try measure("send", encoding, WireClientFrame(ref: 7, .send(WireSend(send)))) {
                encoding.encode(send, into: &$0)
            } decode: {
                _ = try encoding.decodeClientFrame($0)
            }
            try measure("ack", encoding, WireServerFrame(ref: 7, .ack(WireAck(ack)))) {
                encoding.encode(ack, into: &$0)
            } decode: {
                _ = try encoding.decodeServerFrame($0)
            }
            try measure("entry", encoding, WireServerFrame(.entry(WireEntry(entry)))) {
                encoding.encode(entry, into: &$0)
            } decode: {
                _ = try encoding.decodeServerFrame($0)
            }
        }
        report("Nanoseconds per frame. \"oracle\": SwiftProtobuf. Decoding JSON is SwiftProtobuf's work either way.")
    }

    private func measure<Frame: Message>(
        _ name: String, _ encoding: FrameEncoding, _ frame: Frame, encode: (inout ByteBuffer) -> Void,
        decode: (ByteBuffer) throws -> Void
    ) throws {
        var buffer = ByteBuffer()
        encode(&buffer)
        let bytes = buffer
        let array = Array(bytes.readableBytesView)
        let encoded = nanoseconds {
            buffer.clear()
            encode(&buffer)
        }
        let decoded = try nanoseconds { try decode(bytes) }
        let encodedByOracle = try nanoseconds(20_000) {
            let output: [UInt8] = try encoding == .json ? frame.jsonUTF8Bytes() : frame.serializedBytes()
            precondition(!output.isEmpty)
        }
        let decodedByOracle = try nanoseconds(20_000) {
            _ = encoding == .json ? try Frame(jsonUTF8Bytes: array) : try Frame(serializedBytes: array)
        }
        let figures = [Double(array.count), encoded, encodedByOracle, decoded, decodedByOracle]
        report(name.padded(8) + "\(encoding)".padded(10) + figures.map { String(Int($0)).leftPadded(9) }.joined())
    }
}

extension WireSend {
    fileprivate init(_ send: SendFrame) {
        self.init()
        conversation = send.conversation.rawValue
        clientID = send.clientID
        body = send.body
    }
}

extension WireAck {
    fileprivate init(_ ack: AckFrame) {
        self.init()
        conversation = ack.conversation.rawValue
        clientID = ack.clientID
        id = ack.id.rawValue
        seq = ack.seq
        at = ack.at.milliseconds
    }
}
