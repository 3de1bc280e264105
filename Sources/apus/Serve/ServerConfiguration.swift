import ApusCore
import ApusServer
import Logging

/// Everything that a person can set about a server, checked. What each value means stands once, in
/// ``ConfigurationKey/table``; the values here are the defaults.
struct ServerConfiguration: Sendable, Equatable {
    struct HTTPSettings: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8080)
        var bodyBytesMax = 1_048_576
        var corsOrigins: [String] = []
        var advertise = ""
        var trustedProxies: [AddressRange] = []
    }

    struct SocketSettings: Sendable, Equatable {
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

    struct TCPSettings: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8082)
        var advertise = ""
    }

    /// With clients. Both files or none.
    struct TLSSettings: Sendable, Equatable {
        var certificate = ""
        var key = ""

        var isOn: Bool { !certificate.isEmpty }
    }

    struct LogSettings: Sendable, Equatable {
        var level = Logger.Level.info
        var format = LogFormat.text
    }

    struct AuthSettings: Sendable, Equatable {
        var issuer = ""
        var accessTokenSeconds = 900
        var refreshTokenDays = 60
        var keyRotationDays = 30
        var passwordCost = 15
        var devicePolicy = DevicePolicy.all
        var clients: [ServiceClient] = []
    }

    struct DeliverySettings: Sendable, Equatable {
        var batchMax = 1_024
        var queueMax = 16_384
        var sweepSeconds = 2
        var pageEntriesMax = 200
    }

    struct GatewaySettings: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8090)
        var policy = BalancingPolicy.leastConnections
    }

    struct PeerSettings: Sendable, Equatable {
        var listen = NetworkAddress(host: "127.0.0.1", port: 8083)
        var advertise = ""
    }

    /// What the nodes of a cluster share. All of it or nothing.
    struct ClusterSettings: Sendable, Equatable {
        var store = ""
        var redis = ""
        var registry = ""
        var secret = ""
        /// The document of live settings; empty: none.
        var configuration = "apus.yaml"
        var socketPolicy = BalancingPolicy.leastConnections
        var relay = Self.peerRelay
        // Of TLS between nodes. All three files or none.
        var certificate = ""
        var key = ""
        var authority = ""

        static let peerRelay = "peer"

        var isEncrypted: Bool { !certificate.isEmpty }
    }

    /// What the gateway lets through in a minute; 0: any number.
    struct LimitsSettings: Sendable, Equatable {
        var loginsPerAddress = 60
        var loginsPerAccount = 12
        var registrationsPerAddress = 12
        var requestsPerAccount = 3_000
        var requestsPerAddress = 6_000
    }

    /// Where media are kept.
    struct ObjectSettings: Sendable, Equatable {
        var store = ""
        var accessKey = ""
        var secretKey = ""
    }

    var limits = LimitsSettings()
    var objects = ObjectSettings()
    var roles = [RoleName.all]
    var gateway = GatewaySettings()
    var peer = PeerSettings()
    var cluster = ClusterSettings()
    var data = "./data"
    var http = HTTPSettings()
    var socket = SocketSettings()
    var tcp = TCPSettings()
    var tls = TLSSettings()
    var log = LogSettings()
    var auth = AuthSettings()
    var delivery = DeliverySettings()
    var groupMembersMax = 10_000
    var drainSeconds = 5
    var threads = 0
}

/// A role by the name that a person gives it, or all of them.
enum RoleName: String, Sendable, CaseIterable, CustomStringConvertible {
    case all, gateway, auth, user, web, socket

    var description: String { rawValue }

    var roles: Set<Role> { self == .all ? Set(Role.allCases) : Set(Role(rawValue: rawValue).map { [$0] } ?? []) }
}

extension ServerConfiguration {
    var activeRoles: Set<Role> { roles.reduce(into: []) { $0.formUnion($1.roles) } }

    /// Whether this process is a node of a cluster, rather than a server of its own on the embedded back ends.
    var isCluster: Bool { !cluster.store.isEmpty || !cluster.redis.isEmpty || !cluster.registry.isEmpty }

    /// What is wrong with values that are permitted one by one.
    var contradictions: [String] {
        var problems: [String] = []
        if socket.bodyBytesMax + 1_024 > socket.frameBytesMax {
            problems.append(
                "socket.body-bytes-max (\(socket.bodyBytesMax)) must be at least 1,024 less than socket.frame-bytes-max "
                    + "(\(socket.frameBytesMax)): a frame holds a body and its envelope")
        }
        problems += tlsContradictions
        if isCluster {
            for (name, value) in [("store", cluster.store), ("redis", cluster.redis), ("registry", cluster.registry)] where value.isEmpty {
                problems.append("cluster.\(name) is missing: a node of a cluster needs cluster.store, cluster.redis and cluster.registry")
            }
            if cluster.secret.count < Self.clusterSecretCharactersMin {
                problems.append(
                    "cluster.secret is missing or has fewer than \(Self.clusterSecretCharactersMin) characters: the nodes know each other by it, "
                        + "so there is no default (openssl rand -hex 32 makes one)")
            }
        } else if activeRoles != Set(Role.allCases) {
            problems.append(
                "roles: one process without a cluster runs all roles; to run some of them set cluster.store, cluster.redis and "
                    + "cluster.registry")
        }
        if !objects.store.isEmpty, objects.accessKey.isEmpty || objects.secretKey.isEmpty {
            problems.append("objects.store needs objects.access-key and objects.secret-key")
        }
        return problems
    }

    static let clusterSecretCharactersMin = 32
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
