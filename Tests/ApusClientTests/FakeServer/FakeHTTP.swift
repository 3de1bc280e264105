import ApusProtocol
import Foundation
import NIOCore
import NIOHTTP1

/// The few HTTP endpoints that the SDK needs for a conversation.
final class FakeHTTP: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let world: FakeWorld
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()

    init(world: FakeWorld) { self.world = world }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
        case .body(var part): body.writeBuffer(&part)
        case .end:
            guard let head else { return }
            let (status, json) = answer(head, Data(body.readableBytesView))
            var response = HTTPResponseHead(version: .http1_1, status: status)
            response.headers.add(name: "content-length", value: "\(json.count)")
            response.headers.add(name: "content-type", value: "application/json")
            context.write(wrapOutboundOut(.head(response)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: json)))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ head: HTTPRequestHead, _ body: Data) -> (HTTPResponseStatus, Data) {
        let path = head.uri.split(separator: "?").first.map(String.init) ?? ""
        switch (head.method, path) {
        case (.POST, HTTPPath.token): return token(body)
        case (.POST, HTTPPath.revoke): return (.ok, Data())
        case (.POST, HTTPPath.accounts): return register(body)
        default: break
        }
        let token = head.headers.first(name: "authorization").map { String($0.dropFirst("Bearer ".count)) } ?? ""
        guard let account = world.account(accessToken: token) else { return problem(.unauthorized, .unauthenticated) }
        switch (head.method, path) {
        case (.GET, HTTPPath.socketNode):
            world.allocations += 1
            let query = URLComponents(string: head.uri)?.queryItems ?? []
            world.avoidedNodes += query.filter { $0.name == HTTPPath.avoidedNode }.compactMap(\.value)
            if !world.staleNodes.isEmpty { return json(world.staleNodes.removeFirst()) }
            if world.faults.unavailable > 0 {
                world.faults.unavailable -= 1
                return problem(.serviceUnavailable, .overloaded)
            }
            return json(world.node)
        case (.GET, HTTPPath.accounts):
            let wanted = head.uri.split(separator: "=").last.map(String.init)
            let found = world.people.filter { $0.username == wanted }
            return json(AccountList(accounts: found.map { AccountProfile(id: $0.id, username: $0.username, displayName: $0.username) }))
        case (.POST, HTTPPath.conversations):
            guard let request = try? JSONDecoder().decode(NewConversationRequest.self, from: body), let peer = request.members?.first else {
                return problem(.badRequest, .malformed)
            }
            let id = ConversationID(min(peer, account).rawValue << 32 | max(peer, account).rawValue)
            if world.logs[id] == nil { world.logs[id] = FakeWorld.Log() }
            return json(
                ConversationInfo(id: id, kind: .direct, title: "", peer: peer, memberCount: 2, head: world.logs[id]?.head ?? 0, read: 0))
        default: return problem(.notFound, .notFound)
        }
    }

    private func token(_ body: Data) -> (HTTPResponseStatus, Data) {
        var components = URLComponents()
        components.percentEncodedQuery = String(decoding: body, as: UTF8.self)
        func field(_ name: String) -> String { components.queryItems?.first { $0.name == name }?.value ?? "" }
        let response =
            field("grant_type") == "password" ? world.login(field("username"), field("password")) : world.refresh(field("refresh_token"))
        guard let response else {
            return json(OAuthErrorResponse(error: "invalid_grant", errorDescription: "no"), .badRequest)
        }
        return json(response)
    }

    private func register(_ body: Data) -> (HTTPResponseStatus, Data) {
        guard let request = try? JSONDecoder().decode(RegisterRequest.self, from: body) else { return problem(.badRequest, .malformed) }
        guard !world.people.contains(where: { $0.username == request.username }) else { return problem(.conflict, .conflict) }
        let person = world.add(person: request.username, password: request.password)
        return json(AccountProfile(id: person.id, username: person.username, displayName: person.username), .created)
    }

    private func json(_ value: some Encodable, _ status: HTTPResponseStatus = .ok) -> (HTTPResponseStatus, Data) {
        guard let data = try? JSONEncoder().encode(value) else { return (.internalServerError, Data()) }
        return (status, data)
    }

    private func problem(_ status: HTTPResponseStatus, _ code: ErrorCode) -> (HTTPResponseStatus, Data) {
        json(Problem(title: status.reasonPhrase, status: Int(status.code), detail: "as the test wants it", code: code), status)
    }
}
