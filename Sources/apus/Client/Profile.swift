import ApusClient
import ArgumentParser
import Foundation
import Logging

/// One person on this machine: a server and what the SDK keeps about the login there.
struct Profile: Codable, Sendable, Equatable {
    var server: URL
    var username: String
    /// The file with the authority of the server's certificate; nil: the system's authorities.
    var ca: String?

    /// `profile.json` in the profile's directory.
    static func load(from directory: URL) throws -> Profile? {
        guard let data = FileManager.default.contents(atPath: file(in: directory).path) else { return nil }
        do {
            return try JSONDecoder().decode(Profile.self, from: data)
        } catch {
            throw CommandFailure(.data, "\(file(in: directory).path) is damaged: \(error); delete it and log in again")
        }
    }

    func save(to directory: URL) throws {
        try FileManager.default.createDirectory(
            at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try encoder.encode(self).write(to: Self.file(in: directory), options: .atomic)
    }

    private static func file(in directory: URL) -> URL { directory.appendingPathComponent("profile.json") }
}

/// Which profile a command works for, and how it talks.
struct ProfileOptions: ParsableArguments {
    @Option(help: "Which person of this machine; by default APUS_PROFILE, or else default.")
    var profile: String?

    @Option(help: ArgumentHelp("Language of what is shown to people: en or zh; by default from LANG.", valueName: "code"))
    var language: Language?

    @Option(help: "How the connection is carried: websocket, json (WebSocket with JSON frames) or tcp.")
    var transport = Transport.websocket

    @Option(
        help: ArgumentHelp(
            "Believe only the authorities in this PEM file; by default APUS_CA, or else what the login was made with.", valueName: "file"))
    var ca: String?

    @Flag(help: "Tell on stderr what the connection does.")
    var verbose = false

    enum Transport: String, ExpressibleByArgument, CaseIterable {
        case websocket, json, tcp
    }

    var name: String {
        if let profile { return profile }
        let named = ProcessInfo.processInfo.environment["APUS_PROFILE"] ?? ""
        return named.isEmpty ? "default" : named
    }

    func validate() throws {
        // The name becomes a directory.
        let permitted = name.allSatisfy { $0.isLetter || $0.isNumber || "-_.@".contains($0) }
        guard permitted, !name.isEmpty, !name.hasPrefix("."), name.utf8.count <= 100 else {
            throw ValidationError("a profile's name has letters, digits and - _ . @ and does not begin with a dot")
        }
    }

    var catalogue: Catalogue { Catalogue(language: language ?? Language(environment: ProcessInfo.processInfo.environment)) }

    var directory: URL { ApusHome.directory.appendingPathComponent("profiles").appendingPathComponent(name) }

    /// The file with the authority of the server's certificate, as it is given now; nil: none is.
    var givenAuthority: String? {
        let path = ca ?? ProcessInfo.processInfo.environment["APUS_CA"] ?? ""
        // Remembered with the login, for commands that are given in other directories.
        return path.isEmpty ? nil : URL(fileURLWithPath: path).standardizedFileURL.path
    }

    /// A client for the profile. Connects to nothing yet.
    /// - Parameters:
    ///   - server: nil: the one that the profile was logged in to.
    ///   - sends: whether the command sends messages; then it also sends what an earlier one left in the outbox.
    func client(server: URL? = nil, sends: Bool = false) throws -> Client {
        let profile = try Profile.load(from: directory)
        guard let address = server ?? profile?.server else { throw CommandFailure.notLoggedIn(profile: name) }
        var configuration = ClientConfiguration(
            server: address, storage: .directory(directory.appendingPathComponent("store")),
            transport: clientTransport, platform: "terminal", clientVersion: "apus-terminal/0.1.0")
        configuration.adoptsOutbox = sends
        // What was believed of one server says nothing of another.
        let known = address == profile?.server ? profile?.ca : nil
        if let file = givenAuthority ?? known { configuration.trustRoots = .file(URL(fileURLWithPath: file)) }
        // The default handler writes to stdout, where only data belongs.
        configuration.logger = Logger(label: "apus.client") { StreamLogHandler.standardError(label: $0) }
        configuration.logger.logLevel = verbose ? .debug : .error
        return try Client(configuration: configuration)
    }

    private var clientTransport: ClientConfiguration.Transport {
        switch transport {
        case .websocket: .webSocket
        case .json: .webSocketJSON
        case .tcp: .tcp
        }
    }
}
