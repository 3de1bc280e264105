import ApusCore
import ApusProtocol
import Crypto
import Foundation
import NIOCore
import Testing

@testable import ApusServer

@Suite("HTTP: tokens")
struct HTTPTokenTests {
    private static let client = ("gateway", "a secret of this test")

    private static func withClient() throws -> TestServer.Options {
        var options = TestServer.Options()
        options.auth.clients = [try OAuthClient(id: client.0, secret: client.1, scopes: ["internal", "metrics"])]
        return options
    }

    private static func basic(_ id: String, _ secret: String) -> [(String, String)] {
        [("Authorization", "Basic \(Data("\(id):\(secret)".utf8).base64EncodedString())")]
    }

    @Test("The password grant answers as RFC 6749 says, and the token opens the API")
    func passwordGrant() async throws {
        try await TestServer.run { server in
            let id = try await server.register("alice")
            let answer = try await server.loginAnswer("alice", ["client_id": "apus", "device_name": "Phone 📱", "platform": "iOS"])
            #expect(answer.status == 200)
            #expect(answer.headers.first(name: "Cache-Control") == "no-store")
            #expect(answer.headers.first(name: "Pragma") == "no-cache")
            let token = try answer.json(TokenResponse.self)
            #expect((token.tokenType, token.expiresIn, token.scope, token.account) == ("Bearer", 900, "user", id))
            let person = try TestServer.person("alice", token)
            let device = try await server.get(HTTPPath.devices, person).json(DeviceList.self).devices[0]
            #expect((device.name, device.platform, device.current) == ("Phone 📱", "ios", true))
        }
    }

    @Test("A wrong password and an unknown name are told in the same words")
    func wrongCredentials() async throws {
        try await TestServer.run { server in
            _ = try await server.register("alice")
            let wrong = try await server.loginAnswer("alice", ["password": "something else"])
            for answer in [
                wrong, try await server.loginAnswer("nobody"), try await server.loginAnswer("no body"),
                try await server.loginAnswer("alice", ["password": String(repeating: "x", count: 2000)]),
            ] {
                #expect(answer.status == 400)
                #expect(try answer.oauthError().error == "invalid_grant")
                #expect(answer.body == wrong.body)
            }
        }
    }

    @Test("A request that is no token request gets the error of RFC 6749 section 5.2")
    func badTokenRequests() async throws {
        try await TestServer.run(try Self.withClient()) { server in
            func error(_ fields: [String: String], _ headers: [(String, String)] = []) async throws -> String {
                let answer = try await server.form(HTTPPath.token, fields, headers: headers)
                return try answer.oauthError().error
            }
            #expect(try await error([:]) == "invalid_request")
            #expect(try await error(["grant_type": "authorization_code"]) == "unsupported_grant_type")
            #expect(try await error(["grant_type": "password", "username": "alice"]) == "invalid_request")
            #expect(try await error(["grant_type": "password", "username": "alice", "password": ""]) == "invalid_request")
            #expect(try await error(["grant_type": "refresh_token"]) == "invalid_request")
            #expect(try await error(["grant_type": "refresh_token", "refresh_token": "none"]) == "invalid_grant")
            let login = ["grant_type": "password", "username": "alice", "password": "x"]
            #expect(try await error(login.merging(["scope": "admin"]) { $1 }) == "invalid_scope")
            #expect(try await error(login.merging(["device": "x"]) { $1 }) == "invalid_request")
            #expect(try await error(login.merging(["platform": "a b"]) { $1 }) == "invalid_request")
            #expect(try await error(login, Self.basic(Self.client.0, Self.client.1)) == "unauthorized_client")
            let json = try await server.send(.POST, HTTPPath.token, nil, login)
            #expect((json.status, try json.oauthError().error) == (400, "invalid_request"))
            let twice = try await server.request(
                .POST, HTTPPath.token, headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: .bytes(ByteBuffer(string: "grant_type=password&grant_type=password")))
            #expect(try twice.oauthError().error == "invalid_request")
        }
    }

    @Test("A service gets a token for the scopes it may have, by either way of authentication")
    func clientCredentials() async throws {
        try await TestServer.run(try Self.withClient()) { server in
            let (id, secret) = Self.client
            let basic = try await server.form(HTTPPath.token, ["grant_type": "client_credentials"], headers: Self.basic(id, secret))
            let encoded = Self.basic(id, secret.replacingOccurrences(of: " ", with: "+"))
            let encodedAnswer = try await server.form(HTTPPath.token, ["grant_type": "client_credentials"], headers: encoded)
            let fields = ["grant_type": "client_credentials", "client_id": id, "client_secret": secret, "scope": "internal"]
            let body = try await server.form(HTTPPath.token, fields)
            for (answer, scopes) in [(basic, "internal metrics"), (encodedAnswer, "internal metrics"), (body, "internal")] {
                #expect(answer.status == 200)
                let token = try answer.json(TokenResponse.self)
                #expect((token.scope, token.refreshToken, token.account) == (scopes, nil, nil))
                let grant = try await server.verifier.verify(accessToken: token.accessToken)
                #expect(grant.subject == .client(id))
                #expect(grant.scopes == Set(scopes.split(separator: " ").map(String.init)))
            }
            let more = try await server.form(HTTPPath.token, fields.merging(["scope": "internal root"]) { $1 })
            #expect(try more.oauthError().error == "invalid_scope")
            let token = try basic.json(TokenResponse.self).accessToken
            let asPerson = try await server.request(.GET, HTTPPath.account, token: token)
            #expect(try asPerson.problem().code == .forbidden)
        }
    }

    @Test("A client that cannot prove who it is gets 401 and a challenge")
    func invalidClient() async throws {
        try await TestServer.run(try Self.withClient()) { server in
            let grant = ["grant_type": "client_credentials"]
            let (id, secret) = Self.client
            for (fields, headers) in [
                (grant, []), (grant, Self.basic(id, "wrong")), (grant, Self.basic("other", secret)),
                (grant, [("Authorization", "Basic %%%")]), (grant, [("Authorization", "Bearer x")]),
                (grant.merging(["client_id": id]) { $1 }, []),
                (grant.merging(["client_id": id, "client_secret": "wrong"]) { $1 }, []),
                (grant.merging(["client_secret": secret]) { $1 }, []),
            ] {
                let answer = try await server.form(HTTPPath.token, fields, headers: headers)
                #expect(answer.status == 401)
                #expect(answer.headers.first(name: "WWW-Authenticate") == #"Basic realm="apus""#)
                #expect(try answer.oauthError().error == "invalid_client")
            }
        }
    }

    @Test("A refresh token works once; its second use ends the device and its sessions")
    func rotation() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let other = try await server.login("alice")
            let first = try await server.refresh(alice.refreshToken)
            #expect(first.status == 200)
            let renewed = try TestServer.person("alice", try first.json(TokenResponse.self))
            #expect((renewed.id, renewed.device) == (alice.id, alice.device))
            #expect(renewed.refreshToken != alice.refreshToken)
            #expect(server.sessions.all.isEmpty)

            server.clock.advance(.seconds(60))
            let reused = try await server.refresh(alice.refreshToken)
            #expect((reused.status, try reused.oauthError().error) == (400, "invalid_grant"))
            #expect(server.sessions.all == [.init(device: alice.device, account: alice.id, code: .deviceRevoked)])
            #expect(try await server.refresh(renewed.refreshToken).status == 400)
            #expect(try await server.refresh(other.refreshToken).status == 200)
        }
    }

    @Test("A refresh whose answer was lost is answered again within a minute; the lost token, should it turn up, ends the device")
    func lostAnswer() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let lost = try await server.refresh(alice.refreshToken).json(TokenResponse.self)
            server.clock.advance(.seconds(59))
            let again = try await server.refresh(alice.refreshToken)
            #expect(again.status == 200)
            let renewed = try TestServer.person("alice", try again.json(TokenResponse.self))
            #expect(renewed.device == alice.device)
            #expect(try await server.get(HTTPPath.devices, renewed).status == 200)
            #expect(server.sessions.all.isEmpty)

            #expect(try await server.refresh(lost.refreshToken ?? "").status == 400)
            #expect(server.sessions.devices == [alice.device])
            #expect(try await server.refresh(renewed.refreshToken).status == 400)
        }
    }

    @Test("Without a grace, of many uses of one refresh token at the same time one is granted and the device ends")
    func rotationRace() async throws {
        var options = TestServer.Options()
        options.auth.refreshGrace = .zero
        try await TestServer.run(options) { server in
            let alice = try await server.person("alice")
            let granted = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 { group.addTask { try await server.refresh(alice.refreshToken).status } }
                return try await group.reduce(into: 0) { $0 += $1 == 200 ? 1 : 0 }
            }
            #expect(granted == 1)
            #expect(server.sessions.devices == [alice.device])
        }
    }

    @Test("A refresh token expires")
    func refreshExpiry() async throws {
        var options = TestServer.Options()
        options.auth.refreshTokenLifetime = .seconds(100)
        try await TestServer.run(options) { server in
            let alice = try await server.person("alice")
            server.clock.advance(.seconds(99))
            let renewed = try await server.refresh(alice.refreshToken).json(TokenResponse.self)
            server.clock.advance(.seconds(100))
            #expect(try await server.refresh(renewed.refreshToken ?? "").status == 400)
        }
    }

    @Test("Revoking a refresh token, or an access token, ends the device and its sessions", arguments: [true, false])
    func revoke(byRefreshToken: Bool) async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let other = try await server.login("alice")
            let token = byRefreshToken ? alice.refreshToken : alice.token
            let answer = try await server.form(HTTPPath.revoke, ["token": token, "client_id": "apus", "token_type_hint": "x"])
            #expect(answer.status == 200)
            #expect(server.sessions.all == [.init(device: alice.device, account: alice.id, code: .deviceRevoked)])
            #expect(try await server.refresh(alice.refreshToken).status == 400)
            #expect(try await server.get(HTTPPath.devices, alice).problem().code == .unauthenticated)
            #expect(try await server.refresh(other.refreshToken).status == 200)
            let again = try await server.form(HTTPPath.revoke, ["token": token])
            #expect(again.status == 200)
            #expect(server.sessions.all.count == 1)
        }
    }

    @Test("Revoking answers 200 for what is no token, and refuses what it cannot revoke")
    func revokeOthers() async throws {
        try await TestServer.run(try Self.withClient()) { server in
            #expect(try await server.form(HTTPPath.revoke, ["token": "nothing"]).status == 200)
            #expect(try await server.form(HTTPPath.revoke, ["token": "a.b.c"]).status == 200)
            #expect(try await server.form(HTTPPath.revoke, [:]).oauthError().error == "invalid_request")
            let headers = Self.basic(Self.client.0, Self.client.1)
            let token = try await server.form(HTTPPath.token, ["grant_type": "client_credentials"], headers: headers)
            let service = try await server.form(
                HTTPPath.revoke, ["token": try token.json(TokenResponse.self).accessToken], headers: headers)
            #expect(try service.oauthError().error == "unsupported_token_type")
            let wrong = try await server.form(HTTPPath.revoke, ["token": "nothing"], headers: Self.basic("gateway", "wrong"))
            #expect((wrong.status, try wrong.oauthError().error) == (401, "invalid_client"))
        }
    }

    @Test("The implicit grant and every other response type are refused as unsupported")
    func authorize() async throws {
        try await TestServer.run { server in
            for type in ["token", "code", "id_token"] {
                let query = "?response_type=\(type)&client_id=x&redirect_uri=https%3A%2F%2Fexample.com"
                let answer = try await server.get(HTTPPath.authorize + query)
                #expect(answer.status == 400)
                #expect(try answer.oauthError().error == "unsupported_response_type")
                #expect(answer.headers.first(name: "Location") == nil)
            }
        }
    }

    @Test("The discovery document names endpoints that exist, under the host that was asked or the configured issuer")
    func discovery() async throws {
        try await TestServer.run { server in
            let data = try await server.get(HTTPPath.discovery).body
            let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            #expect(document["issuer"] as? String == server.url)
            #expect(document["grant_types_supported"] as? [String] == ["password", "refresh_token", "client_credentials"])
            #expect(document["response_types_supported"] as? [String] == [])
            let methods = ["none", "client_secret_basic", "client_secret_post"]
            #expect(document["token_endpoint_auth_methods_supported"] as? [String] == methods)
            #expect(document["revocation_endpoint_auth_methods_supported"] as? [String] == methods)
            for name in ["token_endpoint", "revocation_endpoint", "jwks_uri", "authorization_endpoint"] {
                let url = try #require(document[name] as? String)
                #expect(url.hasPrefix(server.url))
                #expect(try await server.get(String(url.dropFirst(server.url.count))).status != 404)
            }
        }
        var options = TestServer.Options()
        options.auth.issuer = "https://chat.example.com"
        try await TestServer.run(options) { server in
            let data = try await server.get(HTTPPath.discovery).body
            let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            #expect(document["issuer"] as? String == "https://chat.example.com")
            #expect(document["token_endpoint"] as? String == "https://chat.example.com/oauth/token")
            let claims = try Self.parts(of: try await server.person("alice").token).claims
            #expect(claims["iss"] as? String == "https://chat.example.com")
        }
    }

    @Test(
        "Behind a trusted proxy the issuer is https when the client came so; a stranger's word on it counts nothing",
        arguments: [true, false])
    func issuerBehindProxy(isTrusted: Bool) async throws {
        var options = TestServer.Options()
        if isTrusted { options.http.trustedProxies = [try #require(AddressRange("127.0.0.1"))] }
        try await TestServer.run(options) { server in
            for scheme in ["https", "http"] {
                let answer = try await server.request(
                    .GET, HTTPPath.discovery, headers: [("X-Forwarded-Proto", scheme), ("X-Forwarded-For", "203.0.113.9")])
                let document = try #require(try JSONSerialization.jsonObject(with: answer.body) as? [String: Any])
                #expect(document["issuer"] as? String == server.url.replacing("http:", with: isTrusted ? "\(scheme):" : "http:"))
            }
        }
    }

    @Test("A token is checked with the JWKS and nothing else: ES256, kid, times, account and device")
    func independentVerification() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let (header, claims, signed, signature) = try Self.parts(of: alice.token)
            #expect(header["alg"] as? String == "ES256")
            #expect(claims["iss"] as? String == server.url)
            #expect(claims["sub"] as? String == alice.id.description)
            #expect(claims["did"] as? String == alice.device.description)
            #expect(claims["scope"] as? String == "user")
            #expect(claims["iat"] as? Int64 == server.clock.now.milliseconds / 1000)
            #expect(claims["exp"] as? Int64 == server.clock.now.milliseconds / 1000 + 900)
            #expect((claims["jti"] as? String)?.isEmpty == false)

            let data = try await server.get(HTTPPath.jwks).body
            let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            let keys = try #require(document["keys"] as? [[String: String]])
            let key = try #require(keys.first { $0["kid"] == header["kid"] as? String })
            #expect((key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig"))
            #expect(key["d"] == nil)
            let x = try #require(Base64URL.decode(key["x"] ?? ""))
            let y = try #require(Base64URL.decode(key["y"] ?? ""))
            let publicKey = try P256.Signing.PublicKey(rawRepresentation: x + y)
            #expect(publicKey.isValidSignature(try P256.Signing.ECDSASignature(rawRepresentation: signature), for: signed))
        }
    }

    @Test("An access token that is expired, changed, of another key or of another algorithm is refused with a challenge")
    func badAccessTokens() async throws {
        try await TestServer.run { server in
            let alice = try await server.person("alice")
            let parts = alice.token.split(separator: ".").map(String.init)
            let none = Base64URL.encode(Data(#"{"alg":"none","typ":"JWT"}"#.utf8))
            let unknownKey = Base64URL.encode(Data(#"{"alg":"ES256","kid":"x"}"#.utf8))
            let claims = Base64URL.encode(Data(#"{"iss":"x","sub":"1","did":"1","scope":"user","iat":0,"exp":9999999999,"jti":"x"}"#.utf8))
            for token in [
                "", "x", "\(none).\(parts[1]).", "\(unknownKey).\(parts[1]).\(parts[2])", "\(parts[0]).\(claims).\(parts[2])",
                "\(parts[0]).\(parts[1]).", String(repeating: "x", count: 5000), alice.refreshToken,
            ] {
                let answer = try await server.request(.GET, HTTPPath.account, token: token)
                #expect(answer.status == 401)
                #expect(answer.headers.first(name: "WWW-Authenticate")?.hasPrefix("Bearer") == true)
                #expect(try answer.problem().code == .unauthenticated)
            }
            #expect(try await server.get(HTTPPath.account).problem().code == .unauthenticated)
            server.clock.advance(.seconds(899))
            #expect(try await server.get(HTTPPath.account, alice).status == 200)
            server.clock.advance(.seconds(1))
            #expect(try await server.get(HTTPPath.account, alice).problem().code == .unauthenticated)
        }
    }

    static func parts(
        of token: String
    ) throws -> (header: [String: Any], claims: [String: Any], signed: Data, signature: Data) {
        let parts = token.split(separator: ".").map(String.init)
        try #require(parts.count == 3)
        func object(_ text: String) throws -> [String: Any] {
            let data = Data(try #require(Base64URL.decode(text)))
            return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        }
        let signature = Data(try #require(Base64URL.decode(parts[2])))
        return (try object(parts[0]), try object(parts[1]), Data("\(parts[0]).\(parts[1])".utf8), signature)
    }
}
