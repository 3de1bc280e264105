import ApusCore
import ApusServer
import Logging

/// Everything that a person can set about a server, checked. What each value means stands once, in
/// ``ConfigurationKey/table``; the values here are the defaults.
struct ServerConfiguration: Sendable, Equatable {
    struct HTTP: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8080)
        var bodyBytesMax = 1_048_576
        var corsOrigins: [String] = []
    }

    struct Socket: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8081)
        var advertiseURL = ""
        var heartbeatSeconds = 30
        var handshakeSeconds = 10
        var frameBytesMax = 66_560
        var bodyBytesMax = 32_768
        var inFlightMax = 256
        var outboundBytesMax = 1_048_576
        var connectionsMax = 100_000
        var connectionsPerAddressMax = 512
    }

    struct TCP: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8082)
        var advertise = ""
    }

    struct Log: Sendable, Equatable {
        var level = Logger.Level.info
        var format = LogFormat.text
    }

    struct Auth: Sendable, Equatable {
        var issuer = ""
        var accessTokenSeconds = 900
        var refreshTokenDays = 60
        var keyRotationDays = 30
        var passwordCost = 15
        var devicePolicy = DevicePolicy.all
        var clients: [ServiceClient] = []
    }

    struct Delivery: Sendable, Equatable {
        var batchMax = 1_024
        var queueMax = 16_384
        var sweepSeconds = 2
        var pageEntriesMax = 200
    }

    var data = "./data"
    var http = HTTP()
    var socket = Socket()
    var tcp = TCP()
    var log = Log()
    var auth = Auth()
    var delivery = Delivery()
    var groupMembersMax = 10_000
    var drainSeconds = 5
    var threads = 0
}

enum LogFormat: String, Sendable, CaseIterable {
    case text, json
}

/// A service that gets tokens by the client-credentials grant.
struct ServiceClient: Sendable, Hashable, CustomStringConvertible {
    var id: String
    var secret: String
    var scopes: [String]

    init(id: String, secret: String, scopes: [String]) {
        self.id = id
        self.secret = secret
        self.scopes = scopes
    }

    /// Nil unless `text` is `id:secret:scope scope …`. The secret may hold no colon.
    init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, !parts[0].isEmpty, parts[1].count >= Self.secretCharactersMin else { return nil }
        let scopes = parts[2].split(separator: " ").map(String.init)
        guard !scopes.isEmpty else { return nil }
        self.init(id: parts[0], secret: parts[1], scopes: scopes)
    }

    static let secretCharactersMin = 16

    /// Without the secret: this may end in a log.
    var description: String { id }
}
