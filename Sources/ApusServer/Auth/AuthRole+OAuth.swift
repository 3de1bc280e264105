import ApusCore
import ApusProtocol
import Hummingbird

extension AuthRole {
    /// The grants of the token endpoint.
    enum Grant: String, CaseIterable {
        case password
        case refreshToken = "refresh_token"
        case clientCredentials = "client_credentials"
    }

    private static let authenticationMethods = ["none", "client_secret_basic", "client_secret_post"]

    @Sendable func token(_ request: Request, _ context: APIContext) async throws -> Response {
        try await answer(context) {
            let form = try await request.form(context)
            let caller = try clients.caller(authorization: request.headers[.authorization], form: form)
            guard let name = form["grant_type"] else { throw OAuthError.invalidRequest("grant_type is missing") }
            guard let grant = Grant(rawValue: name) else {
                throw OAuthError(
                    error: "unsupported_grant_type", description: "grants are \(Grant.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            let issuer = try issuer(of: request, context)
            let response: TokenResponse
            switch (grant, caller) {
            case (.password, .firstParty): response = try await passwordGrant(form, issuer)
            case (.refreshToken, .firstParty): response = try await refreshGrant(form, issuer)
            case (.clientCredentials, .service(let client)): response = try await clientCredentialsGrant(client, form, issuer)
            case (.clientCredentials, .firstParty): throw OAuthError.invalidClient
            case (.password, .service), (.refreshToken, .service):
                throw OAuthError.unauthorizedClient("this client gets tokens by client_credentials only")
            }
            return try Response.json(response, headers: [.cacheControl: "no-store", .pragma: "no-cache"])
        }
    }

    /// RFC 7009. Whoever has a token may revoke it; with its device, its sessions end.
    @Sendable func revoke(_ request: Request, _ context: APIContext) async throws -> Response {
        try await answer(context) {
            let form = try await request.form(context)
            _ = try clients.caller(authorization: request.headers[.authorization], form: form)
            guard let token = form["token"] else { throw OAuthError.invalidRequest("token is missing") }
            // The hint is not needed: only access tokens have dots.
            guard token.contains(".") else {
                if let device = try await logins.device(refreshToken: token) { try await logins.end([device.id], of: device.account) }
                return Response(status: .ok)
            }
            let grant: AccessGrant
            do {
                grant = try await verifier.verify(accessToken: token)
            } catch let error as ApusError where error.code == .unauthenticated {
                // Section 2.2: a token that is not valid is a token that need not be revoked.
                return Response(status: .ok)
            }
            guard case .device(let account, let device) = grant.subject else {
                throw OAuthError(error: "unsupported_token_type", description: "a service's token ends by expiring")
            }
            try await logins.end([device], of: account)
            return Response(status: .ok)
        }
    }

    /// No response type is supported: the implicit grant was withdrawn (RFC 9700 section 2.1.2), the authorization code is not
    /// there yet. There is no redirect, since no redirection address was registered.
    @Sendable func authorize(_ request: Request, _ context: APIContext) async throws -> Response {
        try OAuthError(
            error: "unsupported_response_type",
            description: "this server has no authorization code grant, and the implicit grant is withdrawn (RFC 9700)"
        ).response()
    }

    /// RFC 8414.
    @Sendable func metadata(_ request: Request, _ context: APIContext) async throws -> Response {
        let issuer = try issuer(of: request, context)
        return try Response.json(
            ServerMetadata(
                issuer: issuer, authorizationEndpoint: issuer + HTTPPath.authorize, tokenEndpoint: issuer + HTTPPath.token,
                revocationEndpoint: issuer + HTTPPath.revoke, jwksURI: issuer + HTTPPath.jwks,
                scopesSupported: [Scope.user, Scope.internal], responseTypesSupported: [],
                grantTypesSupported: Grant.allCases.map(\.rawValue),
                tokenEndpointAuthMethodsSupported: Self.authenticationMethods,
                revocationEndpointAuthMethodsSupported: Self.authenticationMethods))
    }

    /// RFC 7517. Cached for less than a new key is published before it signs.
    @Sendable func jwks(_ request: Request, _ context: APIContext) async throws -> Response {
        let keys = try await keys.publishedKeys().map { KeySet.Key(kid: $0.id, x: $0.x, y: $0.y) }
        return try Response.json(KeySet(keys: keys), headers: [.cacheControl: "public, max-age=60"])
    }

    // MARK: Grants

    private func passwordGrant(_ form: FormParameters, _ issuer: String) async throws -> TokenResponse {
        try checkUserScope(form)
        guard let username = form["username"], let password = form["password"] else {
            throw OAuthError.invalidRequest("username and password are required")
        }
        let login = Logins.Request(
            username: username, password: password, deviceName: form["device_name"] ?? "", platform: form["platform"] ?? "unknown",
            replaces: try form["device"].map { text in
                guard let id = DeviceID(text) else { throw OAuthError.invalidRequest("device is not an id") }
                return id
            })
        return try await response(logins.login(login), issuer)
    }

    private func refreshGrant(_ form: FormParameters, _ issuer: String) async throws -> TokenResponse {
        try checkUserScope(form)
        guard let token = form["refresh_token"] else { throw OAuthError.invalidRequest("refresh_token is missing") }
        return try await response(logins.refresh(token), issuer)
    }

    private func clientCredentialsGrant(_ client: OAuthClient, _ form: FormParameters, _ issuer: String) async throws -> TokenResponse {
        let asked = form["scope"].map { $0.split(separator: " ").map(String.init) } ?? client.scopes
        guard asked.allSatisfy(client.scopes.contains) else { throw OAuthError.invalidScope("the client may not have this scope") }
        let token = try await self.issuer.issue(.client(client.id), scopes: asked, issuer: issuer)
        return TokenResponse(accessToken: token, expiresIn: lifetimeSeconds, scope: asked.joined(separator: " "))
    }

    private func response(_ granted: Logins.Granted, _ issuer: String) async throws -> TokenResponse {
        let device = granted.device
        let token = try await self.issuer.issue(.device(device.account, device.id), scopes: [Scope.user], issuer: issuer)
        return TokenResponse(
            accessToken: token, expiresIn: lifetimeSeconds, refreshToken: granted.refreshToken, scope: Scope.user,
            account: device.account, device: device.id)
    }

    private func checkUserScope(_ form: FormParameters) throws {
        guard form["scope"] == nil || form["scope"] == Scope.user else { throw OAuthError.invalidScope("people's scope is \(Scope.user)") }
    }

    private var lifetimeSeconds: Int { Int(configuration.accessTokenLifetime / .seconds(1)) }

    // MARK: Parts

    private func issuer(of request: Request, _ context: APIContext) throws -> String {
        if let issuer = configuration.issuer { return issuer }
        guard let host = request.requestedHost else { throw ApusError(.malformed, "the Host header is missing or not valid") }
        return "\(context.isEncrypted ? "https" : "http")://\(host.authority)"
    }

    /// Runs an endpoint whose errors are OAuth's and not problem documents.
    private func answer(_ context: APIContext, _ endpoint: () async throws -> Response) async throws -> Response {
        do {
            return try await endpoint()
        } catch let error as OAuthError {
            return try error.response()
        } catch {
            let known = Problems.publicError(error)
            if Problems.status(of: known.code).code >= 500 {
                context.logger.error("request failed", metadata: ["code": "\(known.code.rawValue)", "error": "\(error)"])
            }
            return try OAuthError(known).response()
        }
    }
}

/// The discovery document.
private struct ServerMetadata: Encodable {
    var issuer: String
    var authorizationEndpoint: String
    var tokenEndpoint: String
    var revocationEndpoint: String
    var jwksURI: String
    var scopesSupported: [String]
    var responseTypesSupported: [String]
    var grantTypesSupported: [String]
    var tokenEndpointAuthMethodsSupported: [String]
    var revocationEndpointAuthMethodsSupported: [String]

    enum CodingKeys: String, CodingKey {
        case issuer
        case authorizationEndpoint = "authorization_endpoint"
        case tokenEndpoint = "token_endpoint"
        case revocationEndpoint = "revocation_endpoint"
        case jwksURI = "jwks_uri"
        case scopesSupported = "scopes_supported"
        case responseTypesSupported = "response_types_supported"
        case grantTypesSupported = "grant_types_supported"
        case tokenEndpointAuthMethodsSupported = "token_endpoint_auth_methods_supported"
        case revocationEndpointAuthMethodsSupported = "revocation_endpoint_auth_methods_supported"
    }
}

private struct KeySet: Encodable {
    struct Key: Encodable {
        var kty = "EC"
        var crv = "P-256"
        var use = "sig"
        var alg = "ES256"
        var kid: String
        var x: String
        var y: String
    }

    var keys: [Key]
}
