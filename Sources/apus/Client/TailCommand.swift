import ApusClient
import ApusProtocol
import ArgumentParser

struct TailCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Print entries as they arrive, one line each, until interrupted.",
        discussion: """
            Without --from it begins with what is new to this profile since it was last connected. Goes on after a restart of the \
            server without a gap and without printing anything twice.

            \(CommandExit.help)
            """)

    @OptionGroup var options: ProfileOptions

    @Option(help: "Only this conversation.")
    var conversation: ConversationID?

    @Option(help: ArgumentHelp("Begin with this sequence number of each conversation.", valueName: "seq"))
    var from: UInt64?

    @Flag(help: "One line of JSON for each entry.")
    var json = false

    func validate() throws {
        if let from, from == 0 { throw ValidationError("sequence numbers begin with 1") }
    }

    func execute() async throws {
        try await withClient { client in
            guard try await client.currentLogin() != nil else { throw CommandFailure.notLoggedIn(profile: options.name) }
            let printer = EntryPrinter(client: client, json: json, showsPlace: conversation == nil, catalogue: options.catalogue)
            var tail = Tail(client: client, printer: printer, only: conversation)
            // Before the first page, so that nothing falls between the pages and the events.
            let events = client.events()
            try await tail.rememberWhatIsKnown()
            await client.connect()
            if let from { try await tail.readBack(from: from) }
            for await event in events { try await tail.handle(event) }
        }
    }
}

/// Where a tail is in each conversation.
private struct Tail {
    let client: Client
    let printer: EntryPrinter
    let only: ConversationID?
    /// The seq from which on an entry has not been printed yet.
    private var next: [ConversationID: Seq] = [:]
    private var hasBeenOnline = false

    init(client: Client, printer: EntryPrinter, only: ConversationID?) {
        self.client = client
        self.printer = printer
        self.only = only
    }

    /// Only what comes after what the profile has already is new.
    mutating func rememberWhatIsKnown() async throws {
        for local in try await client.localConversations() { next[local.id] = local.cursor + 1 }
    }

    mutating func handle(_ event: ClientEvent) async throws {
        switch event {
        case .entry(let entry): await show(entry)
        case .reset(let conversation, let first) where only == nil || only == conversation:
            Output.note("apus: \(conversation): entries before \(first) are no longer on the server")
        case .missedEvents: try await readMissed()
        case .connection(.failed(let code)):
            throw CommandFailure(.refused, "the server closed the connection for good (\(code.rawValue))")
        case .loggedOut: throw CommandFailure(.notLoggedIn, "this login has ended")
        case .connection(.online): hasBeenOnline = true
        case .connection(.waiting(let pause)) where !hasBeenOnline:
            Output.note("apus: cannot reach the server, trying again in \(pause.seconds) s")
        default: break
        }
    }

    private mutating func show(_ entry: Entry) async {
        guard only == nil || only == entry.conversation, entry.seq >= next[entry.conversation] ?? 0 else { return }
        next[entry.conversation] = entry.seq + 1
        await printer.print(entry)
    }

    /// Prints what the server has from `seq` on.
    mutating func readBack(from seq: Seq) async throws {
        let conversations: [ConversationID]
        if let only { conversations = [only] } else { conversations = try await client.conversations().map(\.id) }
        for conversation in conversations { try await read(conversation, from: seq) }
    }

    /// This reader was slower than the events: what it missed is in the local store.
    private mutating func readMissed() async throws {
        for local in try await client.localConversations() where only == nil || only == local.id {
            var from = next[local.id] ?? 1
            while true {
                let entries = try await client.localHistory(of: local.id, from: from, limit: 200)
                guard let last = entries.last else { break }
                for entry in entries { await show(entry) }
                from = last.seq + 1
            }
        }
    }

    private mutating func read(_ conversation: ConversationID, from: Seq) async throws {
        var from = from
        next[conversation] = from
        while true {
            let page = try await client.history(of: conversation, from: from, limit: EntryPage.entriesMax)
            for entry in page.entries { await show(entry.entry) }
            from = page.through + 1
            next[conversation] = max(next[conversation] ?? 0, from)
            guard page.through < page.head, page.through >= page.from else { return }
        }
    }
}
