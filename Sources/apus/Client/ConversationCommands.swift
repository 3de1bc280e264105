import ApusClient
import ApusProtocol
import ArgumentParser
import Foundation

struct ConversationsCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "conversations", abstract: "The conversations of this account.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    @Flag(help: "One line of JSON for each conversation.")
    var json = false

    func execute() async throws {
        try await withClient { client in
            let names = NameBook(client: client)
            for info in try await client.conversations() {
                guard !json else {
                    Output.line(try JSONLine.value(info))
                    continue
                }
                let name = EntryText.printable(await names.remember(info))
                let unread = info.head > info.read ? "  " + options.catalogue(.unread(Int(info.head - info.read))) : ""
                let members = info.kind == .group ? "  " + options.catalogue(.memberCount(info.memberCount)) : ""
                Output.line("\(info.id)  \(name)\(members)\(unread)")
            }
        }
    }
}

struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group", abstract: "Make and change groups.",
        subcommands: [Create.self, Invite.self, Leave.self, Rename.self, Members.self])

    struct Create: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Make a group; prints it as JSON.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions

        @Argument(help: "The title.")
        var title: String

        @Argument(help: "Usernames of the first members.")
        var members: [String] = []

        func execute() async throws {
            let info = try await withClient { client in
                try await client.createGroup(title: title, members: try await ids(of: members, client: client))
            }
            Output.line(try JSONLine.value(info))
        }
    }

    struct Invite: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "invite", abstract: "Add members to a group.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions
        @Option(help: "The group's id.") var conversation: ConversationID
        @Argument(help: "Usernames.") var members: [String]

        func execute() async throws {
            try await withClient { client in
                try await client.invite(try await ids(of: members, client: client), to: conversation)
            }
        }
    }

    struct Leave: ClientCommand {
        static let configuration = CommandConfiguration(commandName: "leave", abstract: "Leave a group.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions
        @Option(help: "The group's id.") var conversation: ConversationID

        func execute() async throws {
            try await withClient { try await $0.leave(conversation) }
        }
    }

    struct Rename: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "rename", abstract: "Change a group's title.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions
        @Option(help: "The group's id.") var conversation: ConversationID
        @Argument(help: "The new title.") var title: String

        func execute() async throws {
            try await withClient { try await $0.rename(conversation, title: title) }
        }
    }

    struct Members: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "members", abstract: "List a group's members.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions
        @Option(help: "The group's id.") var conversation: ConversationID
        @Flag(help: "One line of JSON for each member.") var json = false

        func execute() async throws {
            try await withClient { client in
                let names = NameBook(client: client)
                for member in try await client.members(of: conversation) {
                    guard !json else {
                        Output.line(try JSONLine.value(member))
                        continue
                    }
                    Output.line("\(member.account)  \(await names.account(member.account))  \(member.role.rawValue)")
                }
            }
        }
    }
}

/// The ids of these usernames; the first unknown one ends the command.
private func ids(of usernames: [String], client: Client) async throws -> [AccountID] {
    var ids: [AccountID] = []
    for username in usernames {
        do {
            ids.append(try await client.account(username: username).id)
        } catch let error as ApusError where error.code == .notFound {
            throw CommandFailure(.refused, "there is no user \(username)")
        }
    }
    return ids
}

struct HistoryCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "history", abstract: "Read a conversation from the server.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    @Option(help: "The conversation's id.")
    var conversation: ConversationID

    @Option(help: ArgumentHelp("The first sequence number; without it the last entries are read.", valueName: "seq"))
    var from: UInt64?

    @Option(help: "At most this many entries.")
    var limit = 50

    @Flag(help: "All entries from the first one, or from --from, on.")
    var all = false

    @Flag(help: "One line of JSON for each entry.")
    var json = false

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit is 1 or more") }
        if let from, from == 0 { throw ValidationError("sequence numbers begin with 1") }
    }

    func execute() async throws {
        try await withClient { client in
            let printer = EntryPrinter(client: client, json: json, showsPlace: false, catalogue: options.catalogue)
            var next = try await firstSeq(client)
            var left = all ? Int.max : limit
            while left > 0 {
                let page = try await client.history(of: conversation, from: next, limit: min(left, EntryPage.entriesMax))
                for entry in page.entries.prefix(left) { await printer.print(entry.entry) }
                left -= page.entries.count
                next = page.through + 1
                guard page.through < page.head, page.through >= page.from else { return }
            }
        }
    }

    private func firstSeq(_ client: Client) async throws -> Seq {
        if let from { return from }
        guard !all else { return 1 }
        let head = try await client.conversation(conversation).head
        return head > UInt64(limit) ? head - UInt64(limit) + 1 : 1
    }
}

/// Writes entries to stdout, one line each.
struct EntryPrinter: Sendable {
    private let names: NameBook
    private let text: EntryText
    private let json: Bool
    /// Whether a line for people says which conversation it is of.
    private let showsPlace: Bool

    init(client: Client, json: Bool, showsPlace: Bool, catalogue: Catalogue) {
        names = NameBook(client: client)
        text = EntryText(catalogue: catalogue)
        self.json = json
        self.showsPlace = showsPlace
    }

    func print(_ entry: Entry) async {
        guard !json else { return Output.line(JSONLine.entry(entry)) }
        let sender = await names.account(entry.sender)
        let known = await names.accounts(entry.mentionedAccounts)
        let place = showsPlace ? await names.conversation(entry.conversation) : nil
        Output.line(text.line(entry, sender: sender, place: place) { known[$0] ?? "\($0)" })
    }
}

extension Entry {
    /// What happened, if this is an entry of the system.
    var systemEvent: SystemEvent? {
        guard kind == .system else { return nil }
        return try? JSONDecoder().decode(SystemEvent.self, from: Data(body.utf8))
    }

    /// Whom a system entry is about.
    var mentionedAccounts: [AccountID] { systemEvent?.accounts ?? [] }
}

extension EntryPage {
    /// What a server gives at once; asking for more is an error.
    static let entriesMax = 200
}
