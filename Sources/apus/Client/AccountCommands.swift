import ApusClient
import ApusProtocol
import ArgumentParser
import Foundation

/// Which account, on which server.
struct LoginOptions: ParsableArguments {
    @Option(help: ArgumentHelp("HTTP address of the server; by default the profile's, or else http://127.0.0.1:8080.", valueName: "url"))
    var server: String?

    @Option(help: "The account's username.")
    var username: String

    @Flag(help: "Read the password from the first line of stdin instead of asking for it.")
    var passwordStdin = false

    func validate() throws {
        guard let server else { return }
        guard let url = URL(string: server), ["http", "https"].contains(url.scheme), url.host != nil else {
            throw ValidationError("--server is a URL like http://127.0.0.1:8080")
        }
    }

    func serverURL(_ options: ProfileOptions) throws -> URL {
        let text = try server ?? Profile.load(from: options.directory)?.server.absoluteString ?? "http://127.0.0.1:8080"
        guard let url = URL(string: text) else { throw CommandFailure(.data, "\(text) is no URL") }
        return url
    }

    func logIn(_ client: Client, password: String, options: ProfileOptions, server: URL) async throws {
        let before = try await client.currentLogin()
        let login = try await client.login(username: username, password: password)
        let profile = try Profile.load(from: options.directory)
        let authority = options.givenAuthority ?? (profile?.server == server ? profile?.ca : nil)
        try Profile(server: server, username: login.username, ca: authority).save(to: options.directory)
        // The login that this one replaces would stay in the list of devices for nothing.
        if let before, before.account == login.account, before.device != login.device { try await client.revokeDevice(before.device) }
        Output.note(options.catalogue(.loggedIn(as: login.username, server: server.absoluteString, profile: options.name)))
    }
}

struct RegisterCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "register", abstract: "Make an account and log in.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions
    @OptionGroup var login: LoginOptions

    @Option(help: "The name that others see; by default the username.")
    var displayName: String?

    func execute() async throws {
        let server = try login.serverURL(options)
        let catalogue = options.catalogue
        let password = try await PasswordInput.readNew(
            fromStandardInput: login.passwordStdin, prompt: catalogue(.passwordPrompt), again: catalogue(.passwordAgain),
            differ: catalogue(.passwordsDiffer))
        try await withClient(server: server) { client in
            try await client.register(username: login.username, password: password, displayName: displayName)
            try await login.logIn(client, password: password, options: options, server: server)
        }
    }
}

struct LoginCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Log in; the profile stays logged in until apus logout.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions
    @OptionGroup var login: LoginOptions

    func execute() async throws {
        let server = try login.serverURL(options)
        let password = try await PasswordInput.read(
            fromStandardInput: login.passwordStdin, prompt: options.catalogue(.passwordPrompt))
        try await withClient(server: server) { client in
            try await login.logIn(client, password: password, options: options, server: server)
        }
    }
}

struct LogoutCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "End this profile's login. What it has stored stays until another account logs in.",
        discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    func execute() async throws {
        try await withClient { try await $0.logout() }
        Output.note(options.catalogue(.loggedOut))
    }
}

struct PasswordCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwd", abstract: "Change the password. Ends the logins of all other devices.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    @Flag(help: "Read two lines from stdin, the current and the new password, instead of asking.")
    var passwordStdin = false

    func execute() async throws {
        let catalogue = options.catalogue
        let current: String
        let new: String
        if passwordStdin {
            let lines = LineReader(descriptor: STDIN_FILENO)
            guard let first = try await lines.nextLine(), let second = try await lines.nextLine() else {
                throw CommandFailure(.data, "two lines are expected on stdin: the current and the new password")
            }
            current = String(decoding: first, as: UTF8.self)
            new = String(decoding: second, as: UTF8.self)
        } else {
            current = try await PasswordInput.read(fromStandardInput: false, prompt: catalogue(.passwordPrompt))
            new = try await PasswordInput.readNew(
                fromStandardInput: false, prompt: catalogue(.newPassword), again: catalogue(.passwordAgain),
                differ: catalogue(.passwordsDiffer))
        }
        try await withClient { try await $0.changePassword(current: current, new: new) }
        Output.note(catalogue(.passwordChanged))
    }
}

struct ProfileCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile", abstract: "Show this account, or change what others see of it.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    @Option(help: "The new display name.")
    var displayName: String?

    @Option(help: "The new avatar, a URL.")
    var avatar: String?

    @Option(help: "The new text about oneself.")
    var bio: String?

    @Flag(help: "One JSON document.")
    var json = false

    func execute() async throws {
        let changes = displayName != nil || avatar != nil || bio != nil
        let profile = try await withClient { client in
            guard changes else { return try await client.profile() }
            return try await client.updateProfile(ProfileUpdate(displayName: displayName, avatar: avatar, bio: bio))
        }
        guard !json else { return Output.line(try JSONLine.value(profile)) }
        let catalogue = options.catalogue
        Output.line("\(catalogue(.username)): \(profile.username) (\(profile.id))")
        Output.line("\(catalogue(.displayName)): \(EntryText.printable(profile.displayName))")
        if !profile.avatar.isEmpty { Output.line("\(catalogue(.avatar)): \(EntryText.printable(profile.avatar))") }
        if !profile.bio.isEmpty { Output.line("\(catalogue(.bio)): \(EntryText.printable(profile.bio))") }
    }
}

struct DevicesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "The devices that are logged in to this account.", subcommands: [List.self, Revoke.self],
        defaultSubcommand: List.self)

    struct List: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the devices.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions

        @Flag(help: "One line of JSON for each device.")
        var json = false

        func execute() async throws {
            let devices = try await withClient { try await $0.devices() }
            let text = EntryText(catalogue: options.catalogue)
            for device in devices {
                guard !json else {
                    Output.line(try JSONLine.value(device))
                    continue
                }
                let state = device.current ? options.catalogue(.thisDevice) : device.online ? options.catalogue(.isOnline) : ""
                let seen = text.time(device.lastSeenAt, now: Date())
                Output.line(
                    "\(device.id)  \(EntryText.printable(device.name)) (\(EntryText.printable(device.platform)))  \(seen)  \(state)")
            }
        }
    }

    struct Revoke: ClientCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke", abstract: "End a device's login; its connections close.", discussion: CommandExit.help)

        @OptionGroup var options: ProfileOptions

        @Argument(help: "The device's id, from apus devices list.")
        var device: DeviceID

        func execute() async throws {
            try await withClient { try await $0.revokeDevice(device) }
        }
    }
}

struct OnlineCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "online", abstract: "Who is online.", discussion: CommandExit.help)

    @OptionGroup var options: ProfileOptions

    @Flag(help: "One JSON document: the count and the first accounts.")
    var json = false

    func execute() async throws {
        let online = try await withClient { try await $0.online() }
        guard !json else { return Output.line(try JSONLine.value(online)) }
        for account in online.accounts {
            Output.line("\(account.username)  \(EntryText.printable(account.displayName))")
        }
        Output.note(options.catalogue(.onlineCount(online.count)))
    }
}

extension Identifier: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
