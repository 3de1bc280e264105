import ApusProtocol
import Foundation

/// Decides which node gets what. Pure.
enum RelayPlan {
    /// What a ``RouteTable`` answers in one call.
    static let accountsMax = 1000

    struct Item: Sendable {
        enum Content: Sendable {
            case entry(Entry, isDuplicate: Bool)
            case signal(Signal)
        }

        var content: Content
        var audience: Audience

        init(_ content: Content, audience: Audience) {
            self.content = content
            self.audience = audience
        }

        /// About its bytes. The audience is shared with the store.
        var cost: Int {
            switch content {
            case .entry(let entry, _): 256 + entry.body.utf8.count
            case .signal: 128
            }
        }

        func message(to readers: RelayReaders) -> RelayMessage {
            switch content {
            case .entry(let entry, let isDuplicate): .entry(entry, to: readers, isDuplicate: isDuplicate)
            case .signal(let signal): .signal(signal, to: readers)
            }
        }
    }

    /// As many items as one round trip answers for.
    struct Part {
        /// Each with those of its audience who are looked up.
        var items: [(item: Item, lookedUp: [AccountID], isForAll: Bool)] = []
        /// All who are looked up.
        var accounts: Set<AccountID> = []
    }

    enum Send {
        case node(NodeID, [RelayMessage])
        case all([RelayMessage])
    }

    static func parts(of items: [Item], lookupMembersMax: Int) -> [Part] {
        var parts: [Part] = []
        var part = Part()
        for item in items {
            let isForAll = item.audience.accounts.count > lookupMembersMax
            let lookedUp = isForAll ? comersAndGoers(item) : item.audience.accounts
            if part.accounts.count + lookedUp.count > accountsMax, !part.items.isEmpty {
                let union = part.accounts.union(lookedUp)
                if union.count > accountsMax {
                    parts.append(part)
                    part = Part()
                }
            }
            part.accounts.formUnion(lookedUp)
            part.items.append((item, lookedUp, isForAll))
        }
        if !part.items.isEmpty { parts.append(part) }
        return parts
    }

    /// In the order in which they are to be sent.
    static func sends(of part: Part, by routes: [AccountID: [Route]], from own: NodeID) -> [Send] {
        var sends: [Send] = []
        var messages: [NodeID: [RelayMessage]] = [:]
        var forAll: [RelayMessage] = []
        func flushNodes() {
            // Dictionaries have no order; tests and people who debug like one.
            for node in messages.keys.sorted(by: { ($0.number, $0.epoch) < ($1.number, $1.epoch) }) {
                sends.append(.node(node, messages[node] ?? []))
            }
            messages.removeAll(keepingCapacity: true)
        }
        func flushAll() {
            if !forAll.isEmpty { sends.append(.all(forAll)) }
            forAll.removeAll(keepingCapacity: true)
        }
        for (item, lookedUp, isForAll) in part.items {
            if isForAll {
                if !messages.isEmpty { flushNodes() }
                forAll.append(item.message(to: .members(rosterSeq: item.audience.rosterSeq)))
            }
            guard !lookedUp.isEmpty else { continue }
            var readers: [NodeID: [AccountID]] = [:]
            for account in lookedUp {
                for node in Set((routes[account] ?? []).map(\.node)) where node != own { readers[node, default: []].append(account) }
            }
            if !readers.isEmpty { flushAll() }
            for (node, accounts) in readers { messages[node, default: []].append(item.message(to: .accounts(accounts))) }
        }
        flushAll()
        flushNodes()
        return sends
    }

    /// Whom an entry of a large conversation brings or takes: the other node's roster may not have them yet, or not any more.
    private static func comersAndGoers(_ item: Item) -> [AccountID] {
        guard case .entry(let entry, _) = item.content, entry.kind == .system,
            let event = try? JSONDecoder().decode(SystemEvent.self, from: Data(entry.body.utf8))
        else { return [] }
        let accounts = [entry.sender] + (event.accounts ?? [])
        return accounts.count <= accountsMax ? accounts : []
    }
}
