import ApusBackends
import ApusCore
import ApusServer

extension ConfigurationKey {
    /// Every setting there is. `apus serve --help` and the table of Docs/operations.md are made from this.
    static let table: [ConfigurationKey] =
        listeners + encryption + socket + people + cluster + betweenNodes + limits + objects + operation

    private static let listeners: [ConfigurationKey] = [
        .text(
            "data", \.data, placeholder: "DIR", permitted: "a path",
            "Where the server keeps everything that must survive it. Made when it does not exist."
        ) { !$0.isEmpty },
        .address("http.listen", flag: "http", \.http.listen, "Where the HTTP API listens; port 0 picks a free one."),
        .address("socket.listen", flag: "socket", \.socket.listen, "Where the socket protocol listens for WebSocket."),
        .address("tcp.listen", flag: "tcp", \.tcp.listen, "Where the socket protocol listens for plain TCP."),
        .text(
            "socket.advertise-url", \.socket.advertiseURL, placeholder: "URL", permitted: "a ws:// or wss:// URL, or empty",
            "Where clients are told to connect to; empty: made from the listener's address."
        ) { $0.isEmpty || URLCheck.isURL($0, schemes: ["ws", "wss"]) },
        .text(
            "tcp.advertise", \.tcp.advertise, placeholder: "HOST:PORT", permitted: "HOST:PORT with a port of 1 to 65535, or empty",
            "The same for TCP; empty: the listener's address."
        ) { $0.isEmpty || (NetworkAddress($0)?.port ?? 0) != 0 },
        .integer(
            "http.body-bytes-max", \.http.bodyBytesMax, 1_024...67_108_864, unit: "bytes",
            "The largest body of a request; a larger one is refused with 413."),
        .text(
            "http.advertise", \.http.advertise, placeholder: "HOST:PORT", permitted: "HOST:PORT with a port of 1 to 65535, or empty",
            """
            Where the other nodes of a cluster find the HTTP API of this one; empty: the listener's address, and of one that listens on all \
            addresses that from which the registry is reached.
            """
        ) { $0.isEmpty || (NetworkAddress($0)?.port ?? 0) != 0 },
        .list(
            "http.trusted-proxies", \.http.trustedProxies, placeholder: "RANGE,…", permitted: "addresses like 10.0.0.5 or 10.0.0.0/8",
            "Whose X-Forwarded-For is believed: the gateways, for a node behind them; a load balancer, for a gateway."
        ) { AddressRange($0) },
        .list(
            "http.cors-origins", \.http.corsOrigins, placeholder: "ORIGIN,…", permitted: "origins like https://chat.example, or *",
            "Web pages that may call the HTTP API from a browser."
        ) { $0 == "*" || URLCheck.isOrigin($0) ? $0 : nil }.live(),
    ]

    private static let socket: [ConfigurationKey] = [
        .integer(
            "socket.heartbeat-seconds", \.socket.heartbeatSeconds, 1...3_600, unit: "seconds",
            "A client that was quiet for this long sends a ping; after two and a half times as long it counts as dead."),
        .integer(
            "socket.handshake-seconds", \.socket.handshakeSeconds, 1...300, unit: "seconds",
            "From connecting to a valid `hello`; a connection that takes longer is closed."),
        .integer(
            "socket.frame-bytes-max", \.socket.frameBytesMax, 2_048...16_777_216, unit: "bytes",
            "The largest frame that a client may send; a larger one closes its connection."),
        .integer(
            "socket.body-bytes-max", \.socket.bodyBytesMax, 1...16_776_192, unit: "bytes",
            "The largest body of a message; at least 1,024 less than `socket.frame-bytes-max`."),
        .integer(
            "socket.in-flight-max", \.socket.inFlightMax, 1...65_536,
            "Sends of one session that may wait for their acknowledgement; beyond that the server stops reading."),
        .integer(
            "socket.outbound-bytes-max", \.socket.outboundBytesMax, 65_536...1_073_741_824, unit: "bytes",
            "What may wait to be written to one connection; beyond that it is closed and has to resync."),
        .integer("socket.connections-max", \.socket.connectionsMax, 1...1_000_000, "Connections of this server at one time.").live(),
        .integer(
            "socket.connections-per-address-max", \.socket.connectionsPerAddressMax, 1...1_000_000,
            "Connections from one address that have not logged in yet."
        ).live(),
    ]

    private static let people: [ConfigurationKey] = [
        .text(
            "auth.issuer", \.auth.issuer, placeholder: "URL", permitted: "an http:// or https:// URL without query, or empty",
            "The `iss` of tokens and the base of the discovery document; empty: the address of the HTTP listener."
        ) { $0.isEmpty || URLCheck.isURL($0, schemes: ["http", "https"]) },
        .integer(
            "auth.access-token-seconds", \.auth.accessTokenSeconds, 30...86_400, unit: "seconds",
            "How long an access token is valid."),
        .integer(
            "auth.refresh-token-days", \.auth.refreshTokenDays, 1...3_650, unit: "days",
            "How long a device stays logged in that is never used."),
        .integer(
            "auth.key-rotation-days", \.auth.keyRotationDays, 1...3_650, unit: "days",
            "The age at which the key that signs access tokens is replaced; nobody is logged out by it."),
        .integer(
            "auth.password-cost", \.auth.passwordCost, 10...20,
            "What a password costs to hash, as the logarithm of scrypt's N: 15 is some 60 ms and 32 MiB."),
        .choice("auth.device-policy", \.auth.devicePolicy, "What a login does to the account's other devices.").live(),
        .list(
            "auth.clients", \.auth.clients, placeholder: "ID:SECRET:SCOPES,…",
            permitted: "id:secret:scopes, the secret of 16 characters or more without a colon, scopes divided by spaces", isSecret: true,
            "Services that may use the client-credentials grant. Not for the command line, which other users can read."
        ) { ServiceClient($0) },
        .integer("group.members-max", \.groupMembersMax, 2...100_000, "Members of one group.").live(),
    ]

    private static let cluster: [ConfigurationKey] = [
        .list(
            "roles", \.roles, placeholder: "ROLE,…", permitted: "all, or some of gateway, auth, user, web, socket",
            "What this process does. Some of the roles: only in a cluster."
        ) { RoleName(rawValue: $0) },
        .text(
            "cluster.store", \.cluster.store, placeholder: "URL", permitted: "mysql://USER:PASSWORD@HOST:PORT/DATABASE, or empty",
            isSecret: true, "The database that all nodes share; empty: SQLite in the data directory."
        ) { $0.isEmpty || $0.hasPrefix("mysql://") },
        .text(
            "cluster.redis", \.cluster.redis, placeholder: "URL",
            permitted: "redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…], rediss:// for TLS, or empty", isSecret: true,
            "The Redis, or Redis Cluster, for routes and limits."
        ) { $0.isEmpty || $0.hasPrefix("redis://") || $0.hasPrefix("rediss://") },
        .text(
            "cluster.registry", \.cluster.registry, placeholder: "URL",
            permitted: "zookeeper://HOST:PORT[,HOST:PORT…]/PATH, nacos://[USER:PASSWORD@]HOST:PORT[?namespace=…&group=…], or empty",
            isSecret: true, "Where nodes register and find each other."
        ) { $0.isEmpty || $0.hasPrefix("zookeeper://") || $0.hasPrefix("nacos://") },
        .text(
            "cluster.secret", \.cluster.secret, placeholder: "TEXT", permitted: "32 characters or more", isSecret: true,
            "By it the nodes of a cluster know each other; the same on all of them. Not for the command line, which other users can read."
        ) { $0.isEmpty || $0.count >= ServerConfiguration.clusterSecretCharactersMin },
        .text(
            "cluster.configuration", \.cluster.configuration, placeholder: "NAME",
            permitted: "letters, digits and any of -_:., or empty",
            "The document beside the registry whose live settings change the node while it runs; empty: none."
        ) { $0.isEmpty || (try? DocumentName.check($0)) != nil },
        .choice("cluster.socket-policy", \.cluster.socketPolicy, "How a client's socket node is chosen among the live ones.").live(),
        .address("gateway.listen", flag: "gateway", \.gateway.listen, "Where the gateway listens, in a process that has this role."),
        .choice("gateway.policy", \.gateway.policy, "How the gateway chooses among the nodes of a role.").live(),
        .address("peer.listen", flag: "peer", \.peer.listen, "Where a socket node of a cluster takes what others hand over."),
        .text(
            "peer.advertise", \.peer.advertise, placeholder: "HOST:PORT", permitted: "HOST:PORT with a port of 1 to 65535, or empty",
            "Where the other nodes find that listener; empty: as of http.advertise."
        ) { $0.isEmpty || (NetworkAddress($0)?.port ?? 0) != 0 },
    ]

    private static let limits: [ConfigurationKey] = rateLimits.map { $0.live() }

    private static let rateLimits: [ConfigurationKey] = [
        .integer(
            "limits.logins-per-address", \.limits.loginsPerAddress, 0...10_000_000, unit: "per minute",
            "Attempts to log in from one address that the gateway lets through; 0: any number."),
        .integer(
            "limits.logins-per-account", \.limits.loginsPerAccount, 0...10_000_000, unit: "per minute",
            "Attempts to log in to one account, from anywhere; 0: any number."),
        .integer(
            "limits.registrations-per-address", \.limits.registrationsPerAddress, 0...10_000_000, unit: "per minute",
            "New accounts from one address; 0: any number."),
        .integer(
            "limits.requests-per-account", \.limits.requestsPerAccount, 0...10_000_000, unit: "per minute",
            "HTTP requests of one account; 0: any number."),
        .integer(
            "limits.requests-per-address", \.limits.requestsPerAddress, 0...10_000_000, unit: "per minute",
            "HTTP requests without a valid token from one address; 0: any number."),
    ]

    private static let operation: [ConfigurationKey] = [
        .integer("delivery.batch-max", \.delivery.batchMax, 1...65_536, "Messages that are made durable with one sync to disk."),
        .integer(
            "delivery.queue-max", \.delivery.queueMax, 16...1_048_576,
            "Messages that may wait for the store; beyond that sends are refused as `overloaded`."),
        .integer(
            "delivery.sweep-seconds", \.delivery.sweepSeconds, 1...300, unit: "seconds",
            "How often readers are compared with the store, so that what a hand-over missed is repaired."),
        .integer("delivery.page-entries-max", \.delivery.pageEntriesMax, 1...1_000, "Entries of one page of history.").live(),
        .integer(
            "drain-seconds", \.drainSeconds, 0...600, unit: "seconds",
            "After SIGTERM: the time over which clients are sent away before the server ends."),
        .integer("threads", \.threads, 0...256, "Event loops; 0: one for each core."),
        .choice("log.level", \.log.level, "The least important message that is logged.").live(),
        .choice("log.format", \.log.format, "Lines for people, or one JSON object a line; always on standard error."),
    ]
}
