#if Cluster
import Collections

/// What waits for a connection and what waits for its replies: the bookkeeping of one connection, without the connection.
struct RedisPipeline<Token> {
    /// Commands that are written together.
    struct Request {
        var id: UInt64
        var commands: [RedisCommand]
        /// Does not wait for a second attempt to connect.
        var failsFast: Bool
        var token: Token
    }

    enum Submission: Equatable { case write, wait, refuse }

    enum Expiry {
        case unsent(Token)
        /// `isStalled`: Redis has not answered anything at all since it was sent.
        case unanswered(Token, isStalled: Bool)
    }

    private struct Flight {
        var id: UInt64
        var expected: Int
        var replies: [RESPValue] = []
        /// Nil: nobody waits any more, the replies are thrown away.
        var token: Token?
        /// ``received`` when it was written.
        var receivedBefore: UInt64
    }

    let commandsMax: Int
    private(set) var isOpen = false
    private var waiting: Deque<Request> = []
    private var flights: Deque<Flight> = []
    /// Commands in both.
    private(set) var commandCount = 0
    private var received: UInt64 = 0

    init(commandsMax: Int) { self.commandsMax = commandsMax }

    var isWaiting: Bool { !waiting.isEmpty }

    /// `write`: the caller writes it now, and before anything else.
    mutating func submit(_ request: Request) -> Submission {
        guard commandCount + request.commands.count <= commandsMax else { return .refuse }
        commandCount += request.commands.count
        guard isOpen else {
            waiting.append(request)
            return .wait
        }
        takeOff(request)
        return .write
    }

    /// The connection is ready: what is to be written, in this order.
    mutating func opened() -> [Request] {
        isOpen = true
        defer { waiting = [] }
        for request in waiting { takeOff(request) }
        return Array(waiting)
    }

    /// - Returns: the request that this reply completes.
    /// - Throws: when nothing was asked.
    mutating func receive(_ reply: RESPValue) throws -> (token: Token, replies: [RESPValue])? {
        guard !flights.isEmpty else { throw RESPParser.Failure(description: "a reply that nobody asked for") }
        received += 1
        commandCount -= 1
        flights[0].replies.append(reply)
        guard flights[0].replies.count == flights[0].expected else { return nil }
        let flight = flights.removeFirst()
        return flight.token.map { ($0, flight.replies) }
    }

    /// The connection is gone. Returns those that were sent and will not be answered; the others wait for the next connection.
    mutating func closed() -> [Token] {
        isOpen = false
        defer { flights = [] }
        for flight in flights { commandCount -= flight.expected - flight.replies.count }
        return flights.compactMap(\.token)
    }

    /// No connection came about. Returns those that do not wait for the next attempt.
    mutating func connectFailed() -> [Token] {
        let failed = waiting.filter(\.failsFast)
        guard !failed.isEmpty else { return [] }
        waiting.removeAll(where: \.failsFast)
        for request in failed { commandCount -= request.commands.count }
        return failed.map(\.token)
    }

    /// There will be no connection any more.
    mutating func abandon() -> [Token] {
        defer { waiting = [] }
        for request in waiting { commandCount -= request.commands.count }
        return waiting.map(\.token)
    }

    /// The time of a request is over. Nil when it was answered before.
    mutating func expire(_ id: UInt64) -> Expiry? {
        if let index = waiting.firstIndex(where: { $0.id == id }) {
            let request = waiting.remove(at: index)
            commandCount -= request.commands.count
            return .unsent(request.token)
        }
        guard let index = flights.firstIndex(where: { $0.id == id }), let token = flights[index].token else { return nil }
        flights[index].token = nil
        return .unanswered(token, isStalled: flights[index].receivedBefore == received)
    }

    private mutating func takeOff(_ request: Request) {
        flights.append(
            Flight(id: request.id, expected: request.commands.count, token: request.token, receivedBefore: received))
    }
}
#endif
