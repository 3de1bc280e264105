import ApusCore
import ApusProtocol
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Testing

@testable import ApusServer

@Suite("Gateway: routing table")
struct RoutingTableTests {
    @Test("It has the routes of the roles, with the same need of a token, and no others")
    func sameAsRoles() throws {
        let registered = try registeredRoutes()
        var table: [String: Access] = [:]
        for route in RoutingTable.api.routes {
            let key = "\(route.role) \(route.method) \(route.path)"
            #expect(table.updateValue(route.access, forKey: key) == nil, "\(key) is there twice")
        }
        #expect(Set(table.keys) == Set(registered.keys))
        for (key, access) in registered { #expect(table[key] == access, "\(key)") }
    }

    private func registeredRoutes() throws -> [String: Access] {
        let (store, routes, clock) = (MemoryStore(), MemoryRouteTable(), TestClock())
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let ids = IDGenerator(node: 1, clock: clock)
        let keys = KeyRing(store: store, clock: clock, logger: logger)
        let verifier = JWTVerifier(keys: keys, clock: clock)
        let sequencer = Sequencer(log: store, handover: NoHandover(), ids: ids, clock: clock, logger: logger)
        let delivery = Delivery(
            sequencer: sequencer, log: store, conversations: store,
            scheduler: Scheduler(store: store, sequencer: sequencer, ids: ids, clock: clock, logger: logger),
            marks: MarkBuffer(conversations: store, handover: NoHandover(), logger: logger), handover: NoHandover(), clock: clock,
            rules: SendRules())
        let roles: [(Role, any HTTPRole)] = [
            (
                .auth,
                AuthRole(
                    configuration: AuthConfiguration(), accounts: store, devices: store, routes: routes, sessions: ClosedSessions(),
                    arbiter: MemoryLoginArbiter(), hasher: ScryptPasswordHasher(parameters: .init(logRounds: 2), threads: 1), keys: keys,
                    verifier: verifier, ids: ids,
                    clock: clock, logger: logger)
            ),
            (.user, UserRole(accounts: store, routes: routes)),
            (
                .web,
                WebRole(
                    accounts: store, conversations: store, delivery: delivery, sockets: BalancedSocketDirectory(registry: TestRegistry()),
                    ids: ids, clock: clock)
            ),
        ]
        var registered: [String: Access] = [:]
        for (role, routes) in roles {
            let added = HTTPRoutes(verifier: verifier)
            routes.addRoutes(to: added)
            for (path, methods) in added.table {
                for (method, access) in methods { registered["\(role) \(method) \(path)"] = access }
            }
        }
        return registered
    }

    @Test("Empty segments do not count; a parameter is one segment, as it stands")
    func segments() {
        func path(_ path: String) -> String? {
            guard case .route(let route) = RoutingTable.api.match(.get, path) else { return nil }
            return route.path
        }
        #expect(path("//v1/account/") == HTTPPath.account)
        #expect(path("/v1/accounts/a%2Fb") == HTTPPath.accounts + "/{account}")
        #expect(path("/v1/accounts/a/b") == nil)
        #expect(path("/v1/conversations/1/members/2") == nil)
    }
}

@Suite("Gateway: trace context")
struct TraceContextTests {
    private static let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @Test(
        "What the standard allows is read",
        arguments: [good, "00" + good.dropFirst(2).dropLast(2) + "00", "cc" + good.dropFirst(2) + "-more"])
    func accepted(field: String) {
        #expect(TraceContext(field)?.trace == "0af7651916cd43dd8448eb211c80319c")
    }

    @Test(
        "What it does not is not",
        arguments: [
            "", "00", "ff" + good.dropFirst(2), good + "-more", good.uppercased(), "0" + good, String(good.dropLast()),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ])
    func refused(field: String) {
        #expect(TraceContext(field) == nil)
    }

    @Test("A new trace and a child are valid, and the child belongs to its trace")
    func make() throws {
        var random = SystemRandomNumberGenerator()
        let trace = TraceContext(using: &random)
        #expect(TraceContext(trace.field) == trace)
        let parent = try #require(TraceContext(Self.good))
        let child = parent.child(using: &random)
        #expect((child.trace, child.flags) == (parent.trace, 1))
        #expect(child.parent != parent.parent && TraceContext(child.field) == child)
    }
}

@Suite("HTTP: client addresses")
struct IPAddressTests {
    private static func range(_ text: String) throws -> AddressRange { try #require(AddressRange(text)) }
    private static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("A range has the addresses that begin with its bits")
    func ranges() throws {
        for (range, address, isIn) in [
            ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("192.168.1.128/25", "192.168.1.127", false),
            ("192.168.1.128/25", "192.168.1.129", true), ("127.0.0.1", "127.0.0.1", true), ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true), ("0.0.0.0/0", "::1", false), ("fd00::/8", "fdab::1", true), ("fd00::/8", "fe80::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ] { #expect(try Self.range(range).contains(try Self.address(address)) == isIn, "\(range) \(address)") }
        for text in ["", "10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/", "host/8", "10.0.0/8", "::/129", "10.0.0.0/8/8"] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
    }

    @Test("The client is the first address from the right that is no trusted proxy; a stranger's word counts nothing")
    func forwarded() throws {
        let proxies = [try Self.range("10.0.0.0/8"), try Self.range("::1")]
        for (peer, fields, client) in [
            ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"), ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"), ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["6.6.6.6, 1.2.3.4 ,10.0.0.2"], "1.2.3.4"), ("10.0.0.1", ["6.6.6.6", "1.2.3.4", "10.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", ["1.2.3.4, nonsense"], "10.0.0.1"), ("::1", ["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        ] {
            #expect(try Self.address(peer).client(forwardedFor: fields, trusting: proxies).description == client, "\(peer) \(fields)")
        }
    }

    @Test("A home has one IPv6 network and one IPv4 address")
    func customers() throws {
        #expect(try Self.address("2001:db8:1:2:3:4:5:6").customer.description == "2001:db8:1:2::")
        #expect(try Self.address("203.0.113.9").customer.description == "203.0.113.9")
    }
}

@Suite("Gateway: keys of access tokens")
struct RemoteKeySetTests {
    private struct Away: Error {}

    /// A JWKS document that a test changes, and how often it was asked for.
    private final class Document: Sendable {
        private let state = NIOLockedValueBox<(keys: KeyRing?, asked: Int)>((nil, 0))

        var asked: Int { state.withLockedValue { $0.asked } }

        func set(_ keys: KeyRing?) { state.withLockedValue { $0.keys = keys } }

        func read() async throws -> ByteBuffer {
            let keys = state.withLockedValue { state in
                state.asked += 1
                return state.keys
            }
            guard let keys else { throw Away() }
            let list = try await keys.publishedKeys().map {
                ["kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": $0.id, "x": $0.x, "y": $0.y]
            }
            return ByteBuffer(bytes: try JSONSerialization.data(withJSONObject: ["keys": list + [["kty": "RSA", "kid": "other"]]]))
        }
    }

    private let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    private let clock = TestClock()
    private let document = Document()

    private func ring() -> KeyRing { KeyRing(store: MemoryStore(), clock: clock, logger: logger) }
    private func keySet() -> RemoteKeySet { RemoteKeySet(clock: clock, logger: logger) { [document] in try await document.read() } }

    private func token(_ ring: KeyRing) async throws -> String {
        try await TokenIssuer(keys: ring, clock: clock, lifetime: .seconds(900))
            .issue(.device(AccountID(7), DeviceID(8)), scopes: [Scope.user], issuer: "test")
    }

    @Test("A token of a published key is valid, one of any other key is not")
    func verification() async throws {
        let (ring, stranger) = (ring(), ring())
        document.set(ring)
        let verifier = JWTVerifier(keys: keySet(), clock: clock)
        #expect(try await verifier.verify(accessToken: try await token(ring)).subject == .device(AccountID(7), DeviceID(8)))
        let forged = try await token(stranger)
        await #expect { try await verifier.verify(accessToken: forged) } throws: { ($0 as? ApusError)?.code == .unauthenticated }
    }

    @Test("Many tokens at once make one reading; invented key ids no more than one a second")
    func readings() async throws {
        document.set(ring())
        let keys = keySet()
        await withDiscardingTaskGroup { group in
            for number in 0..<50 { group.addTask { _ = try? await keys.verificationKey("invented-\(number)") } }
        }
        #expect(document.asked == 1)
        clock.advance(.seconds(1))
        for number in 0..<50 { #expect(try await keys.verificationKey("again-\(number)") == nil) }
        #expect(document.asked == 2)
    }

    @Test("While the auth nodes are away the known keys stay good, and an unknown one is a matter of later and not of a new login")
    func away() async throws {
        let ring = ring()
        let keys = keySet()
        let verifier = JWTVerifier(keys: keys, clock: clock)
        let token = try await token(ring)
        await #expect { try await verifier.verify(accessToken: token) } throws: { ($0 as? ApusError)?.code == .unavailable }
        document.set(ring)
        clock.advance(.seconds(1))
        _ = try await verifier.verify(accessToken: token)
        document.set(nil)
        await keys.refresh()
        clock.advance(.seconds(60))
        _ = try await verifier.verify(accessToken: token)
        let other = try await self.token(self.ring())
        await #expect { try await verifier.verify(accessToken: other) } throws: { ($0 as? ApusError)?.code == .unavailable }
    }

    @Test(
        "A document without a key of ours, or with a broken one, changes nothing",
        arguments: [
            #"{"keys":[]}"#, #"{"keys":[{"kty":"RSA","kid":"a"}]}"#, #"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}"#,
            "{}", "<html>",
            #"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"\#(String(repeating: "A", count: 43))","y":"\#(String(repeating: "A", count: 43))"}]}"#,
        ])
    func badDocuments(text: String) {
        #expect(throws: (any Error).self) { try RemoteKeySet.parse(ByteBuffer(string: text)) }
    }
}

@Suite("Web: socket nodes")
struct BalancedSocketDirectoryTests {
    @Test("A client is sent to a node that takes connections; without one it is told to come back")
    func allocation() async throws {
        let directory = BalancedSocketDirectory(registry: TestRegistry())
        func node(_ number: UInt16, weight: Int) -> NodeInfo {
            NodeInfo(
                id: NodeID(number: number, epoch: 1), roles: [.socket], socketURL: "ws://s\(number):9000/v1/socket",
                tcp: NetworkAddress(host: "s\(number)", port: 9001), weight: weight, version: "1")
        }
        await #expect { try await directory.socketNode(for: AccountID(1), requestedHost: nil, avoiding: nil) } throws: {
            ($0 as? ApusError)?.code == .overloaded
        }
        directory.update([node(1, weight: 0), node(2, weight: 100)])
        for account in 0..<20 {
            let found = try await directory.socketNode(for: AccountID(UInt64(account)), requestedHost: "x", avoiding: nil)
            #expect((found.url, found.tcp) == ("ws://s2:9000/v1/socket", "s2:9001"))
        }
    }
}
