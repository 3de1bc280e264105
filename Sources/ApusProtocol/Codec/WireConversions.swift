extension SendFrame {
    public init(_ wire: WireSend, ref: UInt32) {
        self.init(
            ref: ref, conversation: ConversationID(wire.conversation), clientID: wire.clientID,
            kind: wire.kind.isEmpty ? .text : EntryKind(rawValue: wire.kind), body: wire.body,
            deliverAt: wire.deliverAt == 0 ? nil : Timestamp(milliseconds: wire.deliverAt))
    }
}

extension AckFrame {
    public init(_ wire: WireAck, ref: UInt32) {
        self.init(
            ref: ref, conversation: ConversationID(wire.conversation), clientID: wire.clientID, id: EntryID(wire.id), seq: wire.seq,
            at: Timestamp(milliseconds: wire.at), deliverAt: wire.deliverAt == 0 ? nil : Timestamp(milliseconds: wire.deliverAt))
    }
}

extension Entry {
    public init(_ wire: WireEntry) {
        self.init(
            conversation: ConversationID(wire.conversation), seq: wire.seq, id: EntryID(wire.id), sender: AccountID(wire.sender),
            at: Timestamp(milliseconds: wire.at), kind: EntryKind(rawValue: wire.kind), body: wire.body)
    }
}

extension WireEntry {
    public init(_ entry: Entry) {
        self.init()
        conversation = entry.conversation.rawValue
        seq = entry.seq
        id = entry.id.rawValue
        sender = entry.sender.rawValue
        at = entry.at.milliseconds
        kind = entry.kind.rawValue
        body = entry.body
    }
}

extension WireClientFrame {
    public init(ref: UInt32 = 0, _ body: OneOf_Body) {
        self.init()
        self.ref = ref
        self.body = body
    }
}

extension WireServerFrame {
    public init(ref: UInt32 = 0, _ body: OneOf_Body) {
        self.init()
        self.ref = ref
        self.body = body
    }
}
