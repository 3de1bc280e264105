import ApusCore
import ApusProtocol
import AsyncHTTPClient
import Testing

@testable import ApusServer

@Suite("Tokens of nodes", .timeLimit(.minutes(1)))
struct ServiceTokenSourceTests {
    private static let secret = "a secret: with / & %41 ünusual characters"

    private func serving(_ body: @Sendable (TestServer) async throws -> Void) async throws {
        var options = TestServer.Options()
        options.auth.clients = [try OAuthClient(id: "node+1", secret: Self.secret, scopes: [Scope.internal])]
        try await TestServer.run(options, body)
    }

    private func source(_ server: TestServer, secret: String = secret, endpoints: [String]? = nil) -> ServiceTokenSource {
        let urls = endpoints ?? [server.url + HTTPPath.token]
        return ServiceTokenSource(clientID: "node+1", secret: secret, http: .shared, timeout: .seconds(2), clock: server.clock) { urls }
    }

    @Test("a token of scope internal is fetched once, kept, and renewed before it expires")
    func cached() async throws {
        try await serving { server in
            let source = source(server)
            let tokens = try await withThrowingTaskGroup(of: String.self) { tasks in
                for _ in 0..<8 { tasks.addTask { try await source.accessToken() } }
                return try await tasks.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(tokens.count == 1)
            let token = try #require(tokens.first)
            let grant = try await server.verifier.verify(accessToken: token)
            #expect(grant.subject == .client("node+1"))
            #expect(grant.scopes == [Scope.internal])
            server.clock.advance(.seconds(719))
            #expect(try await source.accessToken() == token)
            server.clock.advance(.seconds(1))
            #expect(try await source.accessToken() != token)
        }
    }

    @Test("a token that was refused is not given out again; a refusal of an older one changes nothing")
    func refused() async throws {
        try await serving { server in
            let source = source(server)
            let first = try await source.accessToken()
            await source.refused(first)
            let second = try await source.accessToken()
            #expect(second != first)
            await source.refused(first)
            #expect(try await source.accessToken() == second)
        }
    }

    @Test("the next endpoint is asked when one does not answer, and the last one's reason is told when none does")
    func endpoints() async throws {
        try await serving { server in
            // Port 1 of loopback: nobody listens there.
            let dead = "http://127.0.0.1:1/oauth/token"
            _ = try await source(server, endpoints: [dead, server.url + HTTPPath.token]).accessToken()
            await #expect {
                try await source(server, secret: "not the right secret at all").accessToken()
            } throws: {
                let error = $0 as? ApusError
                return error?.code == .storeUnavailable && String(describing: error?.cause).contains("invalid_client")
            }
            await #expect { try await source(server, endpoints: []).accessToken() } throws: {
                ($0 as? ApusError)?.code == .storeUnavailable
            }
        }
    }

    @Test("a process with the auth role signs its tokens itself")
    func issued() async throws {
        try await serving { server in
            let source = IssuedTokenSource(keys: server.keys, clock: server.clock, name: "node", issuer: "https://chat.example.com")
            let grant = try await server.verifier.verify(accessToken: try await source.accessToken())
            #expect(grant.subject == .client("node") && grant.scopes == [Scope.internal])
        }
    }
}
