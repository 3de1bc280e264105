import ApusProtocol
import Foundation

extension History {
    /// Who might see what of a group, as its log tells: from the entry that an account joined with to the one that it left with.
    public static func visibility(ofGroup log: [Entry]) -> [AccountID: [ClosedRange<Seq>]] {
        var ranges: [AccountID: [ClosedRange<Seq>]] = [:]
        var joined: [AccountID: Seq] = [:]
        for entry in log where entry.kind == .system {
            guard let event = try? JSONDecoder().decode(SystemEvent.self, from: Data(entry.body.utf8)) else { continue }
            switch event.event {
            case .created:
                for account in [entry.sender] + (event.accounts ?? []) { joined[account] = entry.seq }
            case .joined:
                for account in event.accounts ?? [] where joined[account] == nil { joined[account] = entry.seq }
            case .left:
                for account in event.accounts ?? [entry.sender] {
                    guard let from = joined.removeValue(forKey: account) else { continue }
                    ranges[account, default: []].append(from...entry.seq)
                }
            case .renamed: break
            }
        }
        for (account, from) in joined { ranges[account, default: []].append(from...Seq.max) }
        return ranges
    }
}
