import ApusCore
import ApusProtocol
import NIOCore

/// An entry on its way to many sessions: encoded once per carrier, and only for carriers that somebody reads on.
struct EncodedEntry {
    let entry: Entry
    private var frames: [ByteBuffer?] = Array(repeating: nil, count: CarrierKind.allCases.count)

    init(_ entry: Entry) { self.entry = entry }

    mutating func frame(for kind: CarrierKind) -> ByteBuffer {
        if let frame = frames[kind.rawValue] { return frame }
        let frame = kind.frame(sizeHint: entry.body.utf8.count + 96) { kind.encoding.encode(entry, into: &$0) }
        frames[kind.rawValue] = frame
        return frame
    }
}

extension WireError {
    init(_ error: ApusError) {
        self.init()
        code = error.code.rawValue
        message = error.message
        retryable = error.code.isRetryable
        retryAfterMs = error.retryAfterMilliseconds ?? 0
    }
}

extension WireHead {
    init(_ head: ConversationHead) {
        self.init()
        conversation = head.conversation.rawValue
        seq = head.seq
        read = head.read
    }
}

extension WireServerFrame {
    /// A signal as its readers see it.
    init(_ signal: Signal) {
        switch signal {
        case .mark(let mark):
            var read = WireRead()
            read.conversation = mark.conversation.rawValue
            read.account = mark.account.rawValue
            read.read = mark.read
            read.delivered = mark.delivered
            self.init(.read(read))
        case .typing(let conversation, let account):
            var typing = WireTyping()
            typing.conversation = conversation.rawValue
            typing.account = account.rawValue
            self.init(.typing(typing))
        }
    }

    init(_ result: PageResult, of conversation: ConversationID, ref: UInt32) {
        switch result {
        case .page(let from, let through, let head, let entries):
            var page = WirePage()
            page.conversation = conversation.rawValue
            page.from = from
            page.through = through
            page.head = head
            page.entries = entries.map { WireEntry($0) }
            self.init(ref: ref, .page(page))
        case .reset(let first, let head):
            var reset = WireReset()
            reset.conversation = conversation.rawValue
            reset.first = first
            reset.head = head
            self.init(ref: ref, .reset(reset))
        }
    }

    init(_ result: HeadsResult, ref: UInt32) {
        var heads = WireHeads()
        heads.heads = result.heads.map { WireHead($0) }
        heads.token = result.token
        heads.more = result.hasMore
        self.init(ref: ref, .heads(heads))
    }
}
