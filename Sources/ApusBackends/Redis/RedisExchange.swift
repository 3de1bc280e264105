#if Cluster
import ApusCore
import NIOCore

/// The commands of one call, until each has its result: who asks whom, what is sent again and when. Without any I/O.
struct RedisExchange {
    enum Failure: Error, Equatable {
        /// Redis's own words.
        case refused(String)
        case unavailable(String)
    }

    private struct Item {
        var command: RedisCommand
        var result: Result<RESPValue, Failure>?
        /// Where the last answer sent it, for once.
        var ask: NetworkAddress?
        var lastReason = "no server answers"
    }

    /// What goes to one server together.
    struct Batch {
        var address: NetworkAddress
        /// With an ASKING before each that needs it.
        var commands: [RedisCommand] = []
        /// Of each command: its item; nil for ASKING.
        fileprivate var items: [Int?] = []
    }

    /// Redirections and repetitions of one call.
    private static let roundsMax = 64
    private static let pause = Duration.milliseconds(50)

    let deadline: NIODeadline
    private(set) var wantsTopology = false
    private var items: [Item]
    private var rounds = 0
    private var wantsPause = false
    private var moves: [(Int, NetworkAddress)] = []

    init(_ commands: [RedisCommand], deadline: NIODeadline) {
        items = commands.map { Item(command: $0) }
        self.deadline = deadline
    }

    /// Of all commands, once ``begin(now:)`` was false.
    var results: [Result<RESPValue, Failure>] { items.map { $0.result ?? .failure(.unavailable($0.lastReason)) } }

    private var isComplete: Bool { items.allSatisfy { $0.result != nil } }

    /// Whether there is something to send still.
    mutating func begin(now: NIODeadline) -> Bool {
        guard !isComplete, now < deadline, rounds < Self.roundsMax else { return false }
        rounds += 1
        return true
    }

    /// After an attempt: how long to wait before the next.
    mutating func pause(now: NIODeadline) -> Duration? {
        defer { wantsPause = false }
        guard wantsPause, !isComplete, now < deadline else { return nil }
        return min(Self.pause, .nanoseconds((deadline - now).nanoseconds))
    }

    mutating func failRest(_ reason: String) {
        for index in items.indices where items[index].result == nil { items[index].result = .failure(.unavailable(reason)) }
    }

    /// What is left, by server. Commands whose server is not known wait for the map.
    mutating func batches(_ address: (RedisCommand) -> NetworkAddress?) -> [Batch] {
        wantsTopology = false
        var batches: [NetworkAddress: Batch] = [:]
        for index in items.indices where items[index].result == nil {
            let asked = items[index].ask
            guard let target = asked ?? address(items[index].command) else {
                (wantsTopology, wantsPause) = (true, true)
                continue
            }
            var batch = batches.removeValue(forKey: target) ?? Batch(address: target)
            if asked != nil {
                batch.commands.append(RedisCommand(["ASKING"], key: nil))
                batch.items.append(nil)
                items[index].ask = nil
            }
            batch.commands.append(items[index].command)
            batch.items.append(index)
            batches[target] = batch
        }
        return Array(batches.values)
    }

    mutating func take(_ replies: [RESPValue], of batch: Batch) {
        for (reply, item) in zip(replies, batch.items) {
            guard let item else { continue }
            guard case .error(let message) = reply else {
                items[item].result = .success(reply)
                continue
            }
            items[item].lastReason = message
            switch RedisRedirect(error: message, asked: batch.address) {
            case .moved(let slot, let address):
                moves.append((slot, address))
                wantsTopology = true
            case .ask(let address): items[item].ask = address
            case .sendSource where items[item].command.script != nil: items[item].command = items[item].command.withSource
            case .tryAgain: (wantsTopology, wantsPause) = (true, true)
            case .sendSource, nil: items[item].result = .failure(.refused(message))
            }
        }
    }

    mutating func take(_ error: RedisConnectionError, of batch: Batch, isCluster: Bool) {
        for item in batch.items.compactMap({ $0 }) {
            items[item].lastReason = "\(batch.address): \(error)"
            switch error {
            // Nothing will change by its deadline, and in a cluster somebody else may have the slot by now.
            case .unsent: (wantsTopology, wantsPause) = (isCluster, true)
            case .lost where items[item].command.isIdempotent: (wantsTopology, wantsPause) = (isCluster, true)
            case .lost, .full: items[item].result = .failure(.unavailable(items[item].lastReason))
            }
        }
    }

    /// Slots that turned out to be elsewhere.
    mutating func takeMoves() -> [(Int, NetworkAddress)] {
        defer { moves = [] }
        return moves
    }
}
#endif
