import ApusChaos
import ApusProtocol

/// A small good history by hand: ada and bob in a direct conversation, ada sends two messages, both read all.
enum HistoryFixture {
    static let talk = ConversationID(100)
    static let ada = AccountID(1)
    static let bob = AccountID(2)
    static let eve = AccountID(3)

    static func name(_ clientID: String, by sender: AccountID = ada) -> History.EntryName {
        History.EntryName(conversation: talk, sender: sender, clientID: clientID)
    }

    static func entry(_ seq: Seq, _ body: String, by sender: AccountID = ada, id: EntryID? = nil) -> Entry {
        Entry(
            conversation: talk, seq: seq, id: id ?? EntryID(1_000 + seq), sender: sender, at: Timestamp(milliseconds: 7), kind: .text,
            body: body)
    }

    static func send(
        _ clientID: String, _ body: String, by sender: AccountID = ada, session: String = "ada-1", _ outcome: History.Outcome
    ) -> History.Send {
        History.Send(session: session, name: name(clientID, by: sender), content: History.Content(body: body), outcome: outcome)
    }

    static func place(_ seq: Seq) -> History.Place { History.Place(id: EntryID(1_000 + seq), seq: seq) }

    static func observation(_ reader: String, _ account: AccountID, _ entries: [Entry], from: Seq = 1, isComplete: Bool = true)
        -> History.Observation
    {
        History.Observation(
            reader: reader, account: account, conversation: talk, from: from, sights: entries.map { .entry($0) }, isComplete: isComplete)
    }

    static var good: History {
        let log = [entry(1, "one"), entry(2, "two")]
        return History(
            sends: [send("a", "one", .acknowledged(place(1))), send("b", "two", .acknowledged(place(2)))],
            observations: [observation("ada-1", ada, log), observation("bob-1", bob, log)],
            logs: [talk: log],
            visibility: [talk: [ada: [1...Seq.max], bob: [1...Seq.max]]])
    }
}
