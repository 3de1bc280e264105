import ApusProtocol
import NIOCore

/// A message that waits for its acknowledgement, as the local store has it.
struct OutboxItem: Sendable, Hashable {
    /// Its place in the outbox; grows.
    var position: Int64
    var conversation: ConversationID
    var clientID: String
    var kind: EntryKind
    var body: String
    var deliverAt: Timestamp?

    var frame: SendFrame {
        SendFrame(conversation: conversation, clientID: clientID, kind: kind, body: body, deliverAt: deliverAt)
    }
}

/// Which message goes out next: in order within a conversation, conversations in turn, several at a time. Pure.
///
/// After a refusal that may pass, or a lost connection, everything of the conversation that is not acknowledged goes out again in its old
/// order; the client ids make a second try harmless.
struct Outbox: Sendable {
    /// When a server refuses for the time being and does not say for how long.
    static let retryDelay: Duration = .seconds(1)

    private struct Lane {
        var items: CircularBuffer<OutboxItem> = []
        /// The first so many items are on their way.
        var sent = 0
        /// Those of them that were refused for the time being.
        var refused: Set<String> = []
        var isInTurn = false

        var nextItem: OutboxItem? {
            sent < items.count ? items[items.index(items.startIndex, offsetBy: sent)] : nil
        }
    }

    private var lanes: [ConversationID: Lane] = [:]
    /// Conversations where a message was refused for the time being, and until when they wait.
    private var paused: [ConversationID: Duration] = [:]
    /// Conversations that have something to send.
    private var turns: CircularBuffer<ConversationID> = []
    private(set) var count = 0
    private(set) var bytes = 0
    /// Sent and not answered.
    private(set) var inFlight = 0

    /// Every item, by place.
    var items: [OutboxItem] { lanes.values.flatMap(\.items).sorted { $0.position < $1.position } }

    func item(_ conversation: ConversationID, _ clientID: String) -> OutboxItem? {
        lanes[conversation]?.items.first { $0.clientID == clientID }
    }

    /// The next moment at which ``tick(_:)`` lets a conversation go on.
    var deadline: Duration? { paused.filter { (lanes[$0.key]?.sent ?? 0) == 0 }.values.min() }

    /// Items come in the order of their places, but those of a client that died may be older than what is there.
    mutating func add(_ item: OutboxItem) {
        var lane = lanes[item.conversation] ?? Lane()
        var index = lane.items.endIndex
        while index > lane.items.index(lane.items.startIndex, offsetBy: lane.sent),
            lane.items[lane.items.index(before: index)].position > item.position
        {
            index = lane.items.index(before: index)
        }
        lane.items.insert(item, at: index)
        lanes[item.conversation] = lane
        count += 1
        bytes += item.body.utf8.count
        queue(item.conversation)
    }

    /// The next message to send; nil: none, for now.
    mutating func next(inFlightMax: Int) -> OutboxItem? {
        while inFlight < inFlightMax, let conversation = turns.popFirst() {
            lanes[conversation]?.isInTurn = false
            guard var lane = lanes[conversation], paused[conversation] == nil, let item = lane.nextItem else { continue }
            lane.sent += 1
            lanes[conversation] = lane
            inFlight += 1
            queue(conversation)
            return item
        }
        return nil
    }

    /// The server answered for good: acknowledged, or refused for ever. Nil for an item that is not here.
    mutating func finished(_ conversation: ConversationID, _ clientID: String) -> OutboxItem? {
        guard var lane = lanes[conversation], let index = lane.items.firstIndex(where: { $0.clientID == clientID }) else { return nil }
        let item = lane.items.remove(at: index)
        let wasRefused = lane.refused.remove(clientID) != nil
        if lane.items.distance(from: lane.items.startIndex, to: index) < lane.sent {
            lane.sent -= 1
            if !wasRefused { inFlight -= 1 }
        }
        count -= 1
        bytes -= item.body.utf8.count
        lanes[conversation] = lane.items.isEmpty ? nil : lane
        settle(conversation)
        return item
    }

    /// The server refused a message for the time being: it and everything behind it wait, and then go out in order.
    mutating func refused(_ conversation: ConversationID, _ clientID: String, until time: Duration) {
        guard var lane = lanes[conversation], lane.items.prefix(lane.sent).contains(where: { $0.clientID == clientID }),
            lane.refused.insert(clientID).inserted
        else { return }
        inFlight -= 1
        lanes[conversation] = lane
        paused[conversation] = max(paused[conversation] ?? time, time)
        settle(conversation)
    }

    /// Time has passed.
    mutating func tick(_ now: Duration) {
        for (conversation, until) in paused where until <= now && (lanes[conversation]?.sent ?? 0) == 0 {
            paused[conversation] = nil
            queue(conversation)
        }
    }

    /// Nothing that was sent will be answered.
    mutating func disconnected() {
        inFlight = 0
        for conversation in lanes.keys {
            lanes[conversation]?.sent = 0
            lanes[conversation]?.refused = []
        }
        // By their oldest message, so that a conversation that waited longest goes first.
        let order = lanes.sorted { ($0.value.items.first?.position ?? 0) < ($1.value.items.first?.position ?? 0) }
        turns.removeAll()
        for (conversation, _) in order {
            lanes[conversation]?.isInTurn = false
            queue(conversation)
        }
    }

    /// Once all that was under way with a refused message is answered, the rest starts over with the oldest.
    private mutating func settle(_ conversation: ConversationID) {
        guard let lane = lanes[conversation], paused[conversation] != nil, lane.refused.count == lane.sent else { return }
        lanes[conversation]?.sent = 0
        lanes[conversation]?.refused = []
    }

    private mutating func queue(_ conversation: ConversationID) {
        guard let lane = lanes[conversation], paused[conversation] == nil, lane.nextItem != nil, !lane.isInTurn else { return }
        lanes[conversation]?.isInTurn = true
        turns.append(conversation)
    }
}
