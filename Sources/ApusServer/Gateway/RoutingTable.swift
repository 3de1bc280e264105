import ApusCore
import ApusProtocol
import HTTPTypes
import Hummingbird

/// Which role answers which request: what the gateway knows of the others. A test compares it with what the roles register.
struct RoutingTable: Sendable {
    /// What a request counts as, for the limits.
    enum Purpose: Sendable {
        case registration
        /// The token endpoint: a login, if its form says so.
        case token
        case other
    }

    struct Route: Sendable {
        var method: HTTPRequest.Method
        /// With parameters like `/v1/accounts/{id}`.
        var path: String
        var role: Role
        var access: Access
        var purpose: Purpose
    }

    enum Match: Sendable {
        case route(Route)
        /// The path is known; it has these methods.
        case otherMethods(Set<HTTPRequest.Method>)
        case unknown
    }

    private struct Pattern: Sendable {
        /// Nil: a parameter.
        var segments: [String?]
        var routes: [HTTPRequest.Method: Route]
    }

    static let api = RoutingTable { table in
        table.add(.post, HTTPPath.token, .auth, for: .anybody, purpose: .token)
        table.add(.post, HTTPPath.revoke, .auth, for: .anybody)
        table.add(.get, HTTPPath.authorize, .auth, for: .anybody)
        table.add(.post, HTTPPath.authorize, .auth, for: .anybody)
        table.add(.get, HTTPPath.discovery, .auth, for: .anybody)
        table.add(.get, HTTPPath.jwks, .auth, for: .anybody)
        table.add(.post, HTTPPath.accounts, .auth, for: .anybody, purpose: .registration)
        table.add(.post, HTTPPath.password, .auth)
        table.add(.delete, HTTPPath.account, .auth)
        table.add(.get, HTTPPath.devices, .auth)
        table.add(.delete, HTTPPath.devices, .auth)
        table.add(.delete, HTTPPath.devices + "/{device}", .auth)

        table.add(.get, HTTPPath.account, .user)
        table.add(.patch, HTTPPath.account, .user)
        table.add(.get, HTTPPath.accounts, .user)
        table.add(.get, HTTPPath.accounts + "/{account}", .user)
        table.add(.get, HTTPPath.online, .user)

        let conversation = HTTPPath.conversations + "/{conversation}"
        table.add(.post, HTTPPath.conversations, .web)
        table.add(.get, HTTPPath.conversations, .web)
        table.add(.get, conversation, .web)
        table.add(.patch, conversation, .web)
        table.add(.get, conversation + "/members", .web)
        table.add(.post, conversation + "/members", .web)
        table.add(.delete, conversation + "/members/me", .web)
        table.add(.get, conversation + "/entries", .web)
        table.add(.get, HTTPPath.socketNode, .web)
    }

    private(set) var routes: [Route] = []
    private var patterns: [Pattern] = []

    private init(_ fill: (inout RoutingTable) -> Void) {
        fill(&self)
        for route in routes {
            let segments = Self.segments(of: route.path).map { $0.hasPrefix("{") ? nil : String($0) }
            if let known = patterns.firstIndex(where: { $0.segments == segments }) {
                patterns[known].routes[route.method] = route
            } else {
                patterns.append(Pattern(segments: segments, routes: [route.method: route]))
            }
        }
        // A segment that is spelled out goes before a parameter in its place.
        patterns.sort { left, right in
            left.segments.lexicographicallyPrecedes(right.segments) { $0 != nil && $1 == nil }
        }
    }

    private mutating func add(
        _ method: HTTPRequest.Method, _ path: String, _ role: Role, for access: Access = .token, purpose: Purpose = .other
    ) {
        routes.append(Route(method: method, path: path, role: role, access: access, purpose: purpose))
    }

    /// - Parameter path: as it came, without the query; empty segments do not count, as for the roles themselves.
    func match(_ method: HTTPRequest.Method, _ path: String) -> Match {
        let segments = Self.segments(of: path)
        guard let pattern = patterns.first(where: { Self.matches($0.segments, segments) }) else { return .unknown }
        if let route = pattern.routes[method == .head ? .get : method] { return .route(route) }
        return .otherMethods(HTTPRoutes.withHead(pattern.routes.keys))
    }

    private static func segments(of path: String) -> [Substring] { path.split(separator: "/", omittingEmptySubsequences: true) }

    private static func matches(_ pattern: [String?], _ segments: [Substring]) -> Bool {
        pattern.count == segments.count && zip(pattern, segments).allSatisfy { $0 == nil || $0! == $1 }
    }
}
