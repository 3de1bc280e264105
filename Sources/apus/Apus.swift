import ArgumentParser

/// Of this program: what nodes tell each other.
let apusVersion = "0.2.0"

@main
struct Apus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "Instant messaging: a server, and clients for the terminal.",
        subcommands: [
            ServeCommand.self,
            BackupCommand.self,
            MigrateCommand.self,
            RegisterCommand.self,
            LoginCommand.self,
            LogoutCommand.self,
            PasswordCommand.self,
            ProfileCommand.self,
            DevicesCommand.self,
            ChatCommand.self,
            SendCommand.self,
            TailCommand.self,
            HistoryCommand.self,
            ConversationsCommand.self,
            GroupCommand.self,
            OnlineCommand.self,
            BenchCommand.self,
            KillTestCommand.self,
            ClusterCommand.self,
            ChaosCommand.self,
        ])
}
