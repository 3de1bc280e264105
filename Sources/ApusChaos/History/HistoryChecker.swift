import ApusProtocol

/// Finds in a ``History`` what breaks the delivery contract: C1 to C5 and C7. A pure function; each finding is reported once.
public struct HistoryChecker {
    private let history: History
    private let contents: [History.ContentKey: History.EntryName]
    private var places: [History.EntryName: [History.Place]] = [:]
    private var violations: [Violation] = []

    public static func violations(in history: History) -> [Violation] {
        var checker = HistoryChecker(history)
        checker.checkLogs()
        checker.checkNames()
        checker.checkOrder()
        for observation in history.observations { checker.check(observation) }
        return checker.violations
    }

    private init(_ history: History) {
        self.history = history
        var contents: [History.ContentKey: History.EntryName] = [:]
        for send in history.sends {
            let key = History.ContentKey(conversation: send.name.conversation, sender: send.name.sender, content: send.content)
            if let other = contents.updateValue(send.name, forKey: key), other != send.name {
                violations.append(.unusableHistory("\(other) and \(send.name) have the same content"))
            }
        }
        self.contents = contents
    }

    // MARK: The logs: C2, and who wrote (C7)

    private mutating func checkLogs() {
        let needed = Set(history.sends.map(\.name.conversation)).union(history.observations.map(\.conversation))
        for conversation in needed.sorted() where history.logs[conversation] == nil { violations.append(.noLog(conversation)) }

        var ids: Set<EntryID> = []
        for (conversation, log) in history.logs.sorted(by: { $0.key < $1.key }) {
            var expected: Seq = 1
            for entry in log {
                if entry.seq != expected { violations.append(.gap(conversation, expected: expected, found: entry.seq)) }
                expected = entry.seq + 1
                if entry.conversation != conversation { violations.append(.invented(conversation, entry.seq)) }
                if !ids.insert(entry.id).inserted { violations.append(.idTwice(entry.id)) }
                recognise(entry, in: conversation)
            }
        }
    }

    private mutating func recognise(_ entry: Entry, in conversation: ConversationID) {
        if !mayAccess(entry.sender, conversation, entry.seq) {
            violations.append(.sentOutsideMembership(entry.sender, conversation, entry.seq))
        }
        // Only the server writes these; what they say about members is checked through visibility.
        if entry.kind == .system { return }
        let content = History.Content(kind: entry.kind, body: entry.body)
        guard let name = contents[History.ContentKey(conversation: conversation, sender: entry.sender, content: content)] else {
            violations.append(.invented(conversation, entry.seq))
            return
        }
        places[name, default: []].append(History.Place(id: entry.id, seq: entry.seq))
    }

    private func mayAccess(_ account: AccountID, _ conversation: ConversationID, _ seq: Seq) -> Bool {
        history.visibility[conversation]?[account]?.contains { $0.contains(seq) } ?? false
    }

    // MARK: Names and their acknowledgements: C1, C3

    private mutating func checkNames() {
        for (name, sends) in Dictionary(grouping: history.sends, by: \.name).sorted(by: { $0.value[0].sortKey < $1.value[0].sortKey }) {
            let found = places[name] ?? []
            if found.count > 1 { violations.append(.doubled(name, found.map(\.seq))) }

            let acknowledged = sends.filter(\.outcome.isAcknowledged)
            if Set(acknowledged.map(\.content)).count > 1 { violations.append(.conflictAccepted(name)) }
            if Set(acknowledged.map(\.outcome)).count > 1 { violations.append(.acknowledgementsDiffer(name)) }
            for outcome in Set(acknowledged.map(\.outcome)) { check(outcome, of: name, found: found) }
            checkRefusals(sends, of: name)
        }
    }

    private mutating func check(_ outcome: History.Outcome, of name: History.EntryName, found: [History.Place]) {
        let isInLog: Bool
        switch outcome {
        case .acknowledged(let place): isInLog = found.contains(place)
        case .scheduled(let id): isInLog = found.contains { $0.id == id }
        case .unknown, .refused: return
        }
        if isInLog { return }
        if let place = found.first {
            violations.append(.acknowledgementNotAsInLog(name, acknowledged: outcome.place, log: place))
        } else {
            violations.append(.lost(name, acknowledged: outcome.place))
        }
    }

    /// A name may be refused with one content (`conflict`) and stored with another; a content that was only ever refused is not stored.
    private mutating func checkRefusals(_ sends: [History.Send], of name: History.EntryName) {
        for (content, tries) in Dictionary(grouping: sends, by: \.content) where tries.allSatisfy(\.outcome.isRefused) {
            let stored = history.logs[name.conversation]?.first {
                $0.sender == name.sender && $0.kind == content.kind && $0.body == content.body
            }
            if let stored { violations.append(.refusedButStored(name, stored.seq)) }
        }
    }

    // MARK: The order of a session: C4

    private mutating func checkOrder() {
        struct Stream: Hashable {
            var session: String
            var conversation: ConversationID
        }
        var last: [Stream: (name: History.EntryName, seq: Seq)] = [:]
        var known: Set<History.EntryName> = []
        for send in history.sends {
            // Sending again moves nothing; a scheduled message stands where its time puts it.
            if case .scheduled = send.outcome { continue }
            guard let seq = places[send.name]?.first?.seq, known.insert(send.name).inserted else { continue }
            let stream = Stream(session: send.session, conversation: send.name.conversation)
            if let before = last[stream], before.seq > seq {
                violations.append(.reordered(session: send.session, first: before.name, at: before.seq, second: send.name, seq))
            }
            last[stream] = (send.name, max(seq, last[stream]?.seq ?? 0))
        }
    }

    // MARK: What a reader saw: C1, C2, C5, C7

    private mutating func check(_ observation: History.Observation) {
        guard let log = history.logs[observation.conversation] else { return }
        let entries = Dictionary(log.map { ($0.seq, $0) }, uniquingKeysWith: { first, _ in first })
        let reader = observation.reader
        let conversation = observation.conversation
        var seen: Set<Seq> = []
        var last: Seq = 0
        for sight in observation.sights {
            guard case .entry(let entry) = sight else {
                // Nothing is ever removed from a log yet, so there is no cause for a reset. Afterwards the reader starts over.
                if case .reset(let first) = sight { violations.append(.resetWithoutCause(reader: reader, conversation, first: first)) }
                (seen, last) = ([], 0)
                continue
            }
            if !seen.insert(entry.seq).inserted {
                violations.append(.seenTwice(reader: reader, conversation, entry.seq))
            } else if entry.seq < last {
                violations.append(.seenOutOfOrder(reader: reader, conversation, entry.seq, after: last))
            }
            last = max(last, entry.seq)
            if let stored = entries[entry.seq] {
                if stored != entry { violations.append(.readerDiffers(reader: reader, conversation, entry.seq)) }
            } else {
                violations.append(.seenButNotInLog(reader: reader, conversation, entry.seq))
            }
            if !mayAccess(observation.account, conversation, entry.seq) {
                violations.append(.seenOutsideMembership(reader: reader, observation.account, conversation, entry.seq))
            }
        }
        let end = observation.isComplete ? log.last?.seq ?? 0 : last
        checkHoles(observation, seen: seen, through: end)
    }

    private mutating func checkHoles(_ observation: History.Observation, seen: Set<Seq>, through end: Seq) {
        var hole: ClosedRange<Seq>?
        for seq in stride(from: max(observation.from, 1), through: end, by: 1) {
            let isMissing = !seen.contains(seq) && mayAccess(observation.account, observation.conversation, seq)
            if isMissing {
                hole = (hole?.lowerBound ?? seq)...seq
            } else if let range = hole {
                violations.append(.missed(reader: observation.reader, observation.conversation, range))
                hole = nil
            }
        }
        if let hole { violations.append(.missed(reader: observation.reader, observation.conversation, hole)) }
    }
}

extension History.Outcome {
    var isAcknowledged: Bool {
        switch self {
        case .acknowledged, .scheduled: true
        case .unknown, .refused: false
        }
    }

    var isRefused: Bool {
        if case .refused = self { true } else { false }
    }

    fileprivate var place: String {
        switch self {
        case .acknowledged(let place): place.description
        case .scheduled(let id): "scheduled, id \(id)"
        case .unknown: "unknown"
        case .refused(let code): "refused (\(code.rawValue))"
        }
    }
}

extension History.Send {
    /// Reports come in the same order every time.
    fileprivate var sortKey: String { name.description }
}
