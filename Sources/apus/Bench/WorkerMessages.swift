import ApusProtocol

/// What the coordinating process tells a worker, one JSON document per line on the worker's stdin. The end of the input ends the
/// worker, so that none outlives a coordinator that was killed.
enum WorkerOrder: Codable, Sendable {
    /// Open these sessions. Answered by `ready` or `failed`.
    case open(WorkerPlan)
    /// Run the scenario from this moment, nanoseconds of the monotonic clock. Answered by `finished`, with `progress` before.
    case start(UInt64)
}

/// What a worker answers, one JSON document per line on its stdout.
enum WorkerReport: Codable, Sendable {
    case progress(WorkerProgress)
    case ready
    case finished(WorkerResult)
    case failed(String)
}

struct WorkerPlan: Codable, Sendable {
    enum Scenario: Codable, Sendable {
        case idle(seconds: Double)
        case pairs(PairsPlan)
        case group(GroupPlan)
        case reconnect(ReconnectPlan)
    }

    /// Session i connects to node i modulo their number.
    var nodes: [BenchNode]
    /// The local address to connect from; nil: the system's choice.
    var source: String?
    /// The access token of each session.
    var tokens: [String]
    var connectsAtOnceMax: Int
    var scenario: Scenario
}

/// Sessions 2i and 2i+1 are the sender and the receiver of pair i.
struct PairsPlan: Codable, Sendable {
    enum Load: Codable, Sendable {
        /// Open loop: this many messages per second over all pairs of the worker.
        case rate(Double, ArrivalSchedule.Spacing)
        /// Closed loop: each pair keeps this many unacknowledged.
        case window(Int)
    }

    var run: UInt64
    var conversations: [ConversationID]
    var load: Load
    var warmupSeconds: Double
    var seconds: Double
    /// How long to wait for what is still missing at the end.
    var drainSeconds: Double
    var bodyBytes: Int
    var seed: UInt64
}

/// Sessions 2i and 2i+1 are a pair and write to each other.
struct ReconnectPlan: Codable, Sendable {
    var run: UInt64
    /// Of each pair.
    var conversations: [ConversationID]
    /// The HTTP address of the server, which is asked for another node.
    var server: String
    /// How long the sessions may take.
    var limitSeconds: Double
    var bodyBytes: Int
    var seed: UInt64
}

/// Session 0 of the worker that has `sends` sends; all other sessions receive.
struct GroupPlan: Codable, Sendable {
    var run: UInt64
    var conversation: ConversationID
    var sends: Bool
    var messages: Int
    var intervalSeconds: Double
    var drainSeconds: Double
    var bodyBytes: Int
}

struct WorkerProgress: Codable, Sendable {
    var open = 0
    var sent: UInt64 = 0
    var acknowledged: UInt64 = 0
    var delivered: UInt64 = 0

    static func + (left: Self, right: Self) -> Self {
        Self(
            open: left.open + right.open, sent: left.sent + right.sent, acknowledged: left.acknowledged + right.acknowledged,
            delivered: left.delivered + right.delivered)
    }
}

struct WorkerResult: Codable, Sendable {
    var checks = DeliveryChecks()
    /// From the intended time of sending to the acknowledgement.
    var toAck = HistogramSnapshot(.latency())
    /// From the intended time of sending to the arrival at a receiver.
    var toDelivery = HistogramSnapshot(.latency())
    /// Acknowledged and delivered within the measured time, that is without warm-up and drain.
    var acknowledgedMeasured: UInt64 = 0
    var deliveredMeasured: UInt64 = 0
    /// Scenario reconnect: from the fault until a session is welcome again and has synced.
    var toSync = HistogramSnapshot(.latency())
    /// Scenario group: one histogram per message.
    var perMessage: [HistogramSnapshot] = []
    /// Why sessions ended that should not have; the first few.
    var closes: [String] = []
    var closedSessions = 0
}

/// What became of the messages of a run.
struct DeliveryChecks: Codable, Sendable, Equatable {
    var sent: UInt64 = 0
    var acknowledged: UInt64 = 0
    var delivered: UInt64 = 0
    /// Answered by an error instead of an acknowledgement.
    var refused: UInt64 = 0
    /// Neither acknowledged nor refused when the run ended.
    var unanswered: UInt64 = 0
    /// Acknowledged (in a group: sent) and not delivered, counted per receiver.
    var lost: UInt64 = 0
    var doubled: UInt64 = 0
    var reordered: UInt64 = 0
    /// Sequence numbers of the conversation that a receiver did not see between two that it saw.
    var gaps: UInt64 = 0

    var isClean: Bool { refused == 0 && unanswered == 0 && lost == 0 && doubled == 0 && reordered == 0 && gaps == 0 }

    static func + (left: Self, right: Self) -> Self {
        Self(
            sent: left.sent + right.sent, acknowledged: left.acknowledged + right.acknowledged,
            delivered: left.delivered + right.delivered, refused: left.refused + right.refused,
            unanswered: left.unanswered + right.unanswered, lost: left.lost + right.lost, doubled: left.doubled + right.doubled,
            reordered: left.reordered + right.reordered, gaps: left.gaps + right.gaps)
    }
}
