import ApusClient
import ArgumentParser

struct ChatCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Chat in the terminal, or by lines on stdin and stdout.",
        discussion: """
            Type :all for the commands, :q! to quit. Before the line being typed stand what is unread elsewhere, who is typing, the open \
            conversation, and how far its last message is: … waits, ✓ stored, ✓✓ delivered, ✓✓👁 read.

            \(CommandExit.help)
            """)

    @OptionGroup var options: ProfileOptions

    @Argument(help: "The conversation to open: a username, a group's title or an id.")
    var open: String?

    func execute() async throws {
        try await withClient(sends: true) { client in
            guard let login = try await client.currentLogin() else { throw CommandFailure.notLoggedIn(profile: options.name) }
            guard let terminal = TerminalScreen() else {
                return try await chat(client, PlainScreen(), login)
            }
            do {
                try await chat(client, terminal, login)
                await terminal.restore()
            } catch {
                await terminal.restore()
                throw error
            }
        }
    }

    private func chat(_ client: Client, _ screen: any ChatScreen, _ login: LoginInfo) async throws {
        try await ChatSession(client: client, screen: screen, catalogue: options.catalogue, login: login).run(open: open)
    }
}
