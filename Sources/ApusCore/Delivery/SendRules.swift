import ApusProtocol
import Foundation

/// What a `send` must look like before it may reach the log.
public struct SendRules: Sendable {
    public static let clientIDBytesMax = 64
    public static let kindBytesMax = 32

    public var bodyBytesMax: Int
    /// How far ahead a message may be scheduled.
    public var scheduleAheadMax: Int64

    public init(bodyBytesMax: Int = 32_768, scheduleAheadMilliseconds: Int64 = 366 * 86_400_000) {
        self.bodyBytesMax = bodyBytesMax
        self.scheduleAheadMax = scheduleAheadMilliseconds
    }

    /// Why the frame is refused; nil: it is fine.
    public func refusal(of frame: SendFrame, now: @autoclosure () -> Timestamp) -> ApusError? {
        if frame.conversation.rawValue == 0 { return ApusError(.invalidArgument, "conversation is missing") }
        if let refusal = refusalOfClientID(frame.clientID) { return refusal }
        if frame.kind == .system { return ApusError(.invalidArgument, "only the server writes entries of kind system") }
        let size = frame.body.utf8.count
        if size == 0 { return ApusError(.invalidArgument, "body is empty") }
        if size > bodyBytesMax { return ApusError(.tooLarge, "body has \(size) bytes; \(bodyBytesMax) are allowed") }
        if frame.kind == .text {
            // SQL drivers and terminals end a text there.
            if frame.body.utf8.contains(0) { return ApusError(.invalidArgument, "body contains U+0000") }
        } else {
            if !Self.isValidKind(frame.kind) { return ApusError(.invalidArgument, "kind is 1 to 32 of a-z 0-9 . _ -") }
            if !Self.isJSON(frame.body) { return ApusError(.invalidArgument, "the body of kind \(frame.kind.rawValue) is not JSON") }
        }
        if let time = frame.deliverAt, time.milliseconds - now().milliseconds > scheduleAheadMax {
            return ApusError(.invalidArgument, "deliver_at is more than \(scheduleAheadMax / 86_400_000) days ahead")
        }
        return nil
    }

    public func refusalOfClientID(_ clientID: String) -> ApusError? {
        let count = clientID.utf8.count
        guard (1...Self.clientIDBytesMax).contains(count) else {
            return ApusError(.invalidArgument, "client_id has \(count) bytes; 1 to \(Self.clientIDBytesMax) are allowed")
        }
        // Ids under this prefix are the server's own.
        guard !clientID.hasPrefix("apus:") else { return ApusError(.invalidArgument, "client_id must not begin with apus:") }
        guard clientID.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return ApusError(.invalidArgument, "client_id is printable ASCII without spaces")
        }
        return nil
    }

    private static func isValidKind(_ kind: EntryKind) -> Bool {
        (1...kindBytesMax).contains(kind.rawValue.utf8.count)
            && kind.rawValue.utf8.allSatisfy { byte in
                (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2E || byte == 0x5F || byte == 0x2D
            }
    }

    private static func isJSON(_ text: String) -> Bool {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)) != nil
    }
}
