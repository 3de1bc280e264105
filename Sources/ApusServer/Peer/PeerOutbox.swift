import ApusCore
import Collections

/// What one peer is still to be told, and what it has been told and has not acknowledged. Bounded at both ends; what does not fit
/// and what a broken connection swallowed is given up. Pure.
struct PeerOutbox {
    struct Limits {
        /// Of what waits.
        var queueBytesMax: Int
        /// Of what is on its way.
        var windowBytesMax: Int
        var batchBytesMax: Int
        /// The largest message that fits into a frame.
        var messageBytesMax: Int
    }

    private let limits: Limits
    private var waiting: Deque<RelayMessage> = []
    private(set) var waitingBytes = 0
    private var inFlight: Deque<(number: UInt64, bytes: Int, count: Int)> = []
    private var inFlightBytes = 0
    private var lastNumber: UInt64 = 0

    init(limits: Limits) { self.limits = limits }

    /// Nothing waits and everything was acknowledged.
    var isIdle: Bool { waiting.isEmpty && inFlight.isEmpty }
    var hasInFlight: Bool { !inFlight.isEmpty }
    var waitingCount: Int { waiting.count }

    /// - Returns: how many did not fit.
    mutating func add(_ messages: [RelayMessage]) -> Int {
        var dropped = 0
        for message in messages {
            let bytes = message.wireBytesMax
            if bytes > limits.messageBytesMax || waitingBytes + bytes > limits.queueBytesMax {
                dropped += 1
            } else {
                waiting.append(message)
                waitingBytes += bytes
            }
        }
        return dropped
    }

    /// The next to be sent; nil: nothing waits, or the peer must acknowledge first.
    mutating func nextBatch() -> (number: UInt64, messages: [RelayMessage])? {
        guard !waiting.isEmpty, inFlightBytes < limits.windowBytesMax else { return nil }
        var messages: [RelayMessage] = []
        var bytes = 0
        while let message = waiting.first {
            let size = message.wireBytesMax
            if bytes > 0, bytes + size > limits.batchBytesMax { break }
            waiting.removeFirst()
            messages.append(message)
            bytes += size
        }
        waitingBytes -= bytes
        return (sent(bytes: bytes, count: messages.count), messages)
    }

    /// A batch without messages, which says that the link is alive.
    mutating func heartbeat() -> UInt64 { sent(bytes: 0, count: 0) }

    private mutating func sent(bytes: Int, count: Int) -> UInt64 {
        lastNumber += 1
        inFlight.append((lastNumber, bytes, count))
        inFlightBytes += bytes
        return lastNumber
    }

    /// - Returns: false: no such batch was sent.
    mutating func acknowledge(through number: UInt64) -> Bool {
        guard number <= lastNumber else { return false }
        while let first = inFlight.first, first.number <= number {
            inFlight.removeFirst()
            inFlightBytes -= first.bytes
        }
        return true
    }

    /// The connection is over; the next one counts from 1. Nothing is sent twice: whether the peer got what it did not
    /// acknowledge is unknown, and the sweep finds out for less.
    /// - Returns: how many messages are given up.
    mutating func connectionEnded() -> Int {
        let count = inFlight.reduce(0) { $0 + $1.count }
        inFlight = []
        inFlightBytes = 0
        lastNumber = 0
        return count
    }

    /// - Returns: how many messages are given up.
    mutating func clear() -> Int {
        defer {
            waiting = []
            waitingBytes = 0
        }
        return waiting.count
    }
}
