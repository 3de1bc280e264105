import ApusChaos
import ApusProtocol
import Testing

/// A run of an imaginary server that keeps the contract: several sessions and conversations, repeats, sends without an answer,
/// refusals, a member who leaves.
private struct GoodRun {
    var history = History()
    private var random: SeededGenerator
    private let conversations = [ConversationID(10), ConversationID(20)]
    private let accounts = [AccountID(1), AccountID(2), AccountID(3)]
    private var nextID: UInt64 = 500
    private var stored: [History.EntryName: History.Place] = [:]

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        for conversation in conversations {
            history.logs[conversation] = []
            for account in accounts { history.visibility[conversation, default: [:]][account] = [1...Seq.max] }
        }
        for step in 0..<120 {
            if step == 80 { history.visibility[conversations[1]]?[accounts[2]] = [1...Seq(history.logs[conversations[1]]?.count ?? 0)] }
            send(step)
        }
        observe()
    }

    private mutating func send(_ step: Int) {
        let sender = accounts[step >= 80 ? Int.random(in: 0...1, using: &random) : Int.random(in: 0...2, using: &random)]
        let session = "\(sender)-\(Int.random(in: 0...1, using: &random))"
        if Int.random(in: 0..<8, using: &random) == 0,
            let again = history.sends.last(where: { stored[$0.name] != nil && $0.session == session }),
            let place = stored[again.name]
        {
            var repeated = again
            repeated.outcome = .acknowledged(place)
            history.sends.append(repeated)
            return
        }
        let conversation = conversations[Int.random(in: 0...1, using: &random)]
        let name = History.EntryName(conversation: conversation, sender: sender, clientID: "c\(step)")
        var send = History.Send(session: session, name: name, content: .init(body: "body \(step)"), outcome: .unknown)
        switch Int.random(in: 0..<10, using: &random) {
        case 0: break
        case 1: send.outcome = .refused(.tooLarge)
        case 2: append(send)
        default: send.outcome = .acknowledged(append(send))
        }
        history.sends.append(send)
    }

    @discardableResult
    private mutating func append(_ send: History.Send) -> History.Place {
        let conversation = send.name.conversation
        let place = History.Place(id: EntryID(nextID), seq: Seq(history.logs[conversation, default: []].count + 1))
        nextID += 1
        history.logs[conversation, default: []].append(
            Entry(
                conversation: conversation, seq: place.seq, id: place.id, sender: send.name.sender,
                at: Timestamp(milliseconds: Int64(nextID)), kind: send.content.kind, body: send.content.body))
        stored[send.name] = place
        return place
    }

    private mutating func observe() {
        for conversation in conversations {
            for account in accounts {
                let ranges = history.visibility[conversation]?[account] ?? []
                let from = Seq.random(in: 1...3, using: &random)
                let isComplete = Bool.random(using: &random)
                var visible = (history.logs[conversation] ?? []).filter { entry in
                    entry.seq >= from && ranges.contains { $0.contains(entry.seq) }
                }
                if !isComplete { visible.removeLast(Int.random(in: 0...2, using: &random)) }
                history.observations.append(
                    History.Observation(
                        reader: "reader-\(account)", account: account, conversation: conversation, from: from,
                        sights: visible.map { .entry($0) }, isComplete: isComplete))
            }
        }
    }
}

/// One fault, put at a random place of a good history, and the promise that it breaks.
private enum Mutation: String, CaseIterable, CustomTestStringConvertible {
    case loseTail, cutMiddle, doubleInLog, invent, swapSends, moveAcknowledgement, changeAcknowledgedID
    case dropSight, repeatSight, swapSights, changeSight, narrowMembership, acknowledgeConflict

    var testDescription: String { rawValue }

    var promise: Int {
        switch self {
        case .loseTail: 1
        case .cutMiddle, .invent, .changeSight: 2
        case .doubleInLog, .moveAcknowledgement, .changeAcknowledgedID, .acknowledgeConflict: 3
        case .swapSends: 4
        case .dropSight, .repeatSight, .swapSights: 5
        case .narrowMembership: 7
        }
    }

    func apply(to history: inout History, random: inout SeededGenerator) throws {
        let conversation = ConversationID(Bool.random(using: &random) ? 10 : 20)
        let length = history.logs[conversation]?.count ?? 0
        let middle = Int.random(in: 3..<(length - 3), using: &random)
        let reader = Int.random(in: 0..<history.observations.count, using: &random)
        let sight = Int.random(in: 2..<(history.observations[reader].sights.count - 2), using: &random)
        let acknowledged = history.sends.indices.filter { if case .acknowledged = history.sends[$0].outcome { true } else { false } }
        let send = try #require(acknowledged.randomElement(using: &random))
        switch self {
        case .loseTail: history.logs[conversation]?.removeSubrange(middle...)
        case .cutMiddle: history.logs[conversation]?.remove(at: middle)
        case .doubleInLog, .invent:
            guard var copy = history.logs[conversation]?[middle] else { return }
            copy.seq = Seq(length + 1)
            copy.id = EntryID(99_999)
            if self == .invent { copy.body = "nobody said this" }
            history.logs[conversation]?.append(copy)
        case .swapSends: try swapSends(&history, random: &random)
        case .moveAcknowledgement, .changeAcknowledgedID:
            guard case .acknowledged(var place) = history.sends[send].outcome else { return }
            if self == .moveAcknowledgement { place.seq += 1 } else { place.id = EntryID(99_999) }
            history.sends[send].outcome = .acknowledged(place)
        case .dropSight: history.observations[reader].sights.remove(at: sight)
        case .repeatSight: history.observations[reader].sights.insert(history.observations[reader].sights[sight], at: sight + 1)
        case .swapSights: history.observations[reader].sights.swapAt(sight, sight + 1)
        case .changeSight:
            guard case .entry(var entry) = history.observations[reader].sights[sight] else { return }
            entry.at = Timestamp(milliseconds: entry.at.milliseconds + 1)
            history.observations[reader].sights[sight] = .entry(entry)
        case .narrowMembership: history.visibility[conversation]?[AccountID(1)] = [1...Seq(middle), Seq(middle + 2)...Seq.max]
        case .acknowledgeConflict:
            var other = history.sends[send]
            other.content.body += " or not"
            history.sends.append(other)
        }
    }

    /// Exchanges two messages of one session to one conversation that were sent once and are both in the log.
    private func swapSends(_ history: inout History, random: inout SeededGenerator) throws {
        let tries = Dictionary(grouping: history.sends, by: \.name).mapValues(\.count)
        let single = history.sends.indices.filter { index in
            guard case .acknowledged = history.sends[index].outcome else { return false }
            return tries[history.sends[index].name] == 1
        }
        let streams = Dictionary(grouping: single) { "\(history.sends[$0].session) \(history.sends[$0].name.conversation)" }
        let stream = try #require(streams.values.filter { $0.count >= 2 }.min { $0[0] < $1[0] })
        let first = Int.random(in: 0..<(stream.count - 1), using: &random)
        history.sends.swapAt(stream[first], stream[first + 1])
    }
}

@Suite("The history checker on random histories")
struct HistoryMutationTests {
    @Test("a history of a server that keeps the contract has no violation", arguments: 1...50 as ClosedRange<UInt64>)
    func good(seed: UInt64) {
        #expect(HistoryChecker.violations(in: GoodRun(seed: seed).history) == [])
    }

    @Test("a single fault anywhere in a good history is found, and named as what it is", arguments: Mutation.allCases)
    fileprivate func mutated(_ mutation: Mutation) throws {
        for seed in 1...50 as ClosedRange<UInt64> {
            var history = GoodRun(seed: seed).history
            var random = SeededGenerator(seed: seed &* 31)
            try mutation.apply(to: &history, random: &random)
            let found = HistoryChecker.violations(in: history)
            #expect(found.contains { $0.promise == mutation.promise }, "seed \(seed): \(found)")
        }
    }
}
