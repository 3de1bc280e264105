import NIOCore
import SwiftProtobuf

/// A `send` as the server reads it.
public struct SendFrame: Hashable, Sendable {
    public var ref: UInt32
    public var conversation: ConversationID
    public var clientID: String
    public var kind: EntryKind
    public var body: String
    /// Nil: now.
    public var deliverAt: Timestamp?

    public init(
        ref: UInt32 = 0, conversation: ConversationID, clientID: String, kind: EntryKind = .text, body: String, deliverAt: Timestamp? = nil
    ) {
        self.ref = ref
        self.conversation = conversation
        self.clientID = clientID
        self.kind = kind
        self.body = body
        self.deliverAt = deliverAt
    }
}

/// The promise that an entry is durable, as the client reads it.
public struct AckFrame: Hashable, Sendable {
    public var ref: UInt32
    public var conversation: ConversationID
    public var clientID: String
    public var id: EntryID
    /// 0: scheduled, no place in the log yet.
    public var seq: Seq
    public var at: Timestamp
    public var deliverAt: Timestamp?

    public init(
        ref: UInt32 = 0, conversation: ConversationID, clientID: String, id: EntryID, seq: Seq, at: Timestamp, deliverAt: Timestamp? = nil
    ) {
        self.ref = ref
        self.conversation = conversation
        self.clientID = clientID
        self.id = id
        self.seq = seq
        self.at = at
        self.deliverAt = deliverAt
    }
}

public enum InboundClientFrame: Sendable {
    case send(SendFrame)
    case other(WireClientFrame)
}

public enum InboundServerFrame: Sendable {
    case entry(Entry)
    case ack(AckFrame)
    case other(WireServerFrame)
}

/// The two encodings of the socket protocol. `send`, `ack` and `entry` have codecs written by hand (20 times cheaper); the
/// rest goes through SwiftProtobuf, which is also the oracle of the tests for the three.
public enum FrameEncoding: Sendable, CaseIterable {
    case protobuf
    case json

    /// The WebSocket subprotocol that selects this encoding.
    public var subprotocol: String {
        switch self {
        case .protobuf: "apus.v1.proto"
        case .json: "apus.v1.json"
        }
    }

    public init?(subprotocol: some StringProtocol) {
        guard let match = Self.allCases.first(where: { $0.subprotocol == subprotocol }) else { return nil }
        self = match
    }

    // MARK: Client to server

    public func encode(_ send: SendFrame, into buffer: inout ByteBuffer) {
        switch self {
        case .protobuf: ProtobufWriter.write(send, into: &buffer)
        case .json: JSONWriter.write(send, into: &buffer)
        }
    }

    public func encode(_ frame: WireClientFrame, into buffer: inout ByteBuffer) throws {
        try encodeGeneric(frame, into: &buffer)
    }

    /// - Throws: ``FrameError`` when the bytes are no frame.
    public func decodeClientFrame(_ bytes: ByteBuffer) throws -> InboundClientFrame {
        if self == .protobuf, let send = ProtobufReader.send(in: bytes) { return .send(send) }
        let frame = try decodeGeneric(WireClientFrame.self, bytes)
        guard case .send(let send) = frame.body else { return .other(frame) }
        return .send(SendFrame(send, ref: frame.ref))
    }

    // MARK: Server to client

    public func encode(_ entry: Entry, into buffer: inout ByteBuffer) {
        switch self {
        case .protobuf: ProtobufWriter.write(entry, into: &buffer)
        case .json: JSONWriter.write(entry, into: &buffer)
        }
    }

    public func encode(_ ack: AckFrame, into buffer: inout ByteBuffer) {
        switch self {
        case .protobuf: ProtobufWriter.write(ack, into: &buffer)
        case .json: JSONWriter.write(ack, into: &buffer)
        }
    }

    public func encode(_ frame: WireServerFrame, into buffer: inout ByteBuffer) throws {
        try encodeGeneric(frame, into: &buffer)
    }

    /// - Throws: ``FrameError`` when the bytes are no frame.
    public func decodeServerFrame(_ bytes: ByteBuffer) throws -> InboundServerFrame {
        if self == .protobuf, let frame = ProtobufReader.hotServerFrame(in: bytes) { return frame }
        let frame = try decodeGeneric(WireServerFrame.self, bytes)
        switch frame.body {
        case .entry(let entry): return .entry(Entry(entry))
        case .ack(let ack): return .ack(AckFrame(ack, ref: frame.ref))
        default: return .other(frame)
        }
    }

    // MARK: Everything that is not hot

    private func encodeGeneric(_ message: some Message, into buffer: inout ByteBuffer) throws {
        switch self {
        case .protobuf: buffer.writeBytes(try message.serializedBytes() as [UInt8])
        case .json: buffer.writeBytes(try message.jsonUTF8Bytes() as [UInt8])
        }
    }

    private func decodeGeneric<M: Message>(_ type: M.Type, _ bytes: ByteBuffer) throws -> M {
        do {
            switch self {
            case .protobuf:
                return try M(serializedBytes: Array(bytes.readableBytesView))
            case .json:
                var options = JSONDecodingOptions()
                options.ignoreUnknownFields = true
                options.messageDepthLimit = 16
                return try M(jsonUTF8Bytes: Array(bytes.readableBytesView), options: options)
            }
        } catch {
            throw FrameError.undecodable(String(describing: error))
        }
    }
}

/// Bytes that are no frame of the protocol.
public enum FrameError: Error, Equatable, Sendable {
    case undecodable(String)
}
