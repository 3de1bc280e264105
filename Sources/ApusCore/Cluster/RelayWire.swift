import ApusProtocol

extension WirePeerNode {
    public init(_ node: NodeID) {
        self.init()
        number = UInt32(node.number)
        epoch = node.epoch
    }
}

extension NodeID {
    /// Nil: not the number of a node.
    public init?(_ wire: WirePeerNode) {
        guard wire.number < 1024 else { return nil }
        self.init(number: UInt16(wire.number), epoch: wire.epoch)
    }
}

extension WireRelayBatch {
    public init(_ messages: [RelayMessage]) {
        self.init()
        self.messages = messages.map { WireRelayMessage($0) }
    }

    /// What this version understands of it.
    public var relayMessages: [RelayMessage] { messages.compactMap { RelayMessage($0) } }
}

extension WireRelayMessage {
    public init(_ message: RelayMessage) {
        self.init()
        switch message {
        case .entry(let entry, let readers, let isDuplicate):
            var wire = WireRelayEntry()
            wire.entry = WireEntry(entry)
            wire.to = WireRelayReaders(readers)
            wire.duplicate = isDuplicate
            body = .entry(wire)
        case .signal(let signal, let readers):
            var wire = WireRelaySignal()
            wire.signal = WireRelaySignal.OneOf_Signal(signal)
            wire.to = WireRelayReaders(readers)
            body = .signal(wire)
        case .close(let devices, let account, let code):
            var wire = WireRelayClose()
            wire.devices = devices.map(\.rawValue)
            wire.account = account.rawValue
            wire.code = UInt32(code.rawValue)
            body = .close(wire)
        }
    }
}

extension RelayMessage {
    /// Nil: a message of a later version.
    public init?(_ wire: WireRelayMessage) {
        switch wire.body {
        case .entry(let wire): self = .entry(Entry(wire.entry), to: RelayReaders(wire.to), isDuplicate: wire.duplicate)
        case .signal(let wire):
            guard let signal = wire.signal.map({ Signal($0) }) else { return nil }
            self = .signal(signal, to: RelayReaders(wire.to))
        case .close(let wire):
            guard let code = UInt16(exactly: wire.code) else { return nil }
            self = .close(wire.devices.map { DeviceID($0) }, account: AccountID(wire.account), code: CloseCode(rawValue: code))
        case nil: return nil
        }
    }

    /// At least as many bytes as it takes on the wire; also what it counts in a bounded queue.
    public var wireBytesMax: Int {
        // Ten bytes are the most that a number takes; the fields and headers around the variable parts fit into the rest.
        switch self {
        case .entry(let entry, let readers, _): 128 + entry.body.utf8.count + entry.kind.rawValue.utf8.count + readers.wireBytesMax
        case .signal(_, let readers): 96 + readers.wireBytesMax
        case .close(let devices, _, _): 64 + 10 * devices.count
        }
    }
}

extension RelayReaders {
    fileprivate init(_ wire: WireRelayReaders) {
        self = wire.accounts.isEmpty ? .members(rosterSeq: wire.rosterSeq) : .accounts(wire.accounts.map { AccountID($0) })
    }

    fileprivate var wireBytesMax: Int {
        switch self {
        case .accounts(let accounts): 16 + 10 * accounts.count
        case .members: 16
        }
    }
}

extension WireRelayReaders {
    fileprivate init(_ readers: RelayReaders) {
        self.init()
        switch readers {
        case .accounts(let accounts): self.accounts = accounts.map(\.rawValue)
        case .members(let rosterSeq): self.rosterSeq = rosterSeq
        }
    }
}

extension WireRelaySignal.OneOf_Signal {
    fileprivate init(_ signal: Signal) {
        switch signal {
        case .mark(let mark):
            var read = WireRead()
            read.conversation = mark.conversation.rawValue
            read.account = mark.account.rawValue
            read.read = mark.read
            read.delivered = mark.delivered
            self = .read(read)
        case .typing(let conversation, let account):
            var typing = WireTyping()
            typing.conversation = conversation.rawValue
            typing.account = account.rawValue
            self = .typing(typing)
        }
    }
}

extension Signal {
    fileprivate init(_ wire: WireRelaySignal.OneOf_Signal) {
        switch wire {
        case .read(let read):
            self = .mark(
                Mark(
                    conversation: ConversationID(read.conversation), account: AccountID(read.account), read: read.read,
                    delivered: read.delivered))
        case .typing(let typing): self = .typing(ConversationID(typing.conversation), AccountID(typing.account))
        }
    }
}
