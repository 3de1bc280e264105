import ApusCore
import ApusProtocol
import ApusServer

/// What the one configuration means to each role.
extension ServerConfiguration {
    var httpConfiguration: HTTPConfiguration {
        HTTPConfiguration(
            host: http.listen.host, port: http.listen.port, bodyBytesMax: http.bodyBytesMax,
            corsOrigins: http.corsOrigins.isEmpty ? ["*"] : http.corsOrigins, trustedProxies: http.trustedProxies)
    }

    var gatewayConfiguration: GatewayConfiguration {
        var http = httpConfiguration
        http.host = gateway.listen.host
        http.port = gateway.listen.port
        return GatewayConfiguration(http: http, limits: limits.gateway)
    }

    var socketConfiguration: SocketConfiguration {
        var role = SocketConfiguration(webSocket: socket.listen, tcp: tcp.listen)
        role.heartbeatSeconds = socket.heartbeatSeconds
        role.handshakeSeconds = socket.handshakeSeconds
        role.frameBytesMax = socket.frameBytesMax
        role.inFlightMax = socket.inFlightMax
        role.outboundBytesMax = socket.outboundBytesMax
        role.connectionsMax = socket.connectionsMax
        role.handshakesPerAddressMax = socket.connectionsPerAddressMax
        role.drainSeconds = drainSeconds
        return role
    }

    /// What clients are told to connect to when the listeners stand behind a name or a proxy; nil: the listeners themselves.
    var publicSocketNode: SocketNode? {
        guard !socket.advertiseURL.isEmpty else { return nil }
        return SocketNode(
            url: socket.advertiseURL, tcp: tcp.advertise.isEmpty ? nil : tcp.advertise, isTCPEncrypted: tls.isOn)
    }

    var authConfiguration: AuthConfiguration {
        get throws {
            AuthConfiguration(
                issuer: auth.issuerIfSet, accessTokenLifetime: .seconds(auth.accessTokenSeconds),
                refreshTokenLifetime: .seconds(auth.refreshTokenDays * 86_400), devicePolicy: auth.devicePolicy,
                clients: try (auth.clients + nodeClients).map { try OAuthClient(id: $0.id, secret: $0.secret, scopes: $0.scopes) })
        }
    }

    /// The other nodes of the cluster, as clients of the auth role.
    private var nodeClients: [ServiceClient] {
        isCluster ? [ServiceClient(id: ServiceClient.nodeID, secret: cluster.secret, scopes: ["internal"])] : []
    }

    var keySchedule: KeySchedule {
        get throws {
            KeySchedule(
                rotationAge: .seconds(auth.keyRotationDays * 86_400), tokenLifetime: .seconds(auth.accessTokenSeconds))
        }
    }
}

extension ServerConfiguration.AuthSettings {
    /// Nil: the host that the client asked.
    var issuerIfSet: String? { issuer.isEmpty ? nil : issuer }
}

extension ServerConfiguration.LimitsSettings {
    /// What may come at once is what comes in a second at the full rate, or at least what one person's program may do.
    var gateway: GatewayLimits {
        func limit(_ perMinute: Int, burst: Int) -> RateLimit? {
            perMinute == 0 ? nil : RateLimit(perSecond: Double(perMinute) / 60, burst: max(burst, perMinute / 60))
        }
        return GatewayLimits(
            loginPerAddress: limit(loginsPerAddress, burst: 30), loginPerAccount: limit(loginsPerAccount, burst: 20),
            registrationPerAddress: limit(registrationsPerAddress, burst: 20), requestsPerAccount: limit(requestsPerAccount, burst: 200),
            requestsPerAddress: limit(requestsPerAddress, burst: 400))
    }
}
