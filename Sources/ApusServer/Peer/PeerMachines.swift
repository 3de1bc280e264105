import ApusCore
import ApusProtocol

/// The connecting end of a peer link: hello, welcome, then batches and their acknowledgements. Pure.
struct PeerDialerMachine {
    private enum State {
        case greeting
        case open
        case closed
    }

    enum Action: Equatable {
        case open
        case acknowledged(through: UInt64)
        case close(CloseCode, String)
        /// The peer closed; it said why.
        case closed(CloseCode)
        case nothing
    }

    private let peer: NodeID
    private var state = State.greeting

    init(peer: NodeID) { self.peer = peer }

    var isOpen: Bool { if case .open = state { true } else { false } }

    mutating func received(_ frame: WirePeerFrame) -> Action {
        switch (state, frame.body) {
        case (.closed, _): return .nothing
        case (_, .close(let close)):
            state = .closed
            return .closed(CloseCode(rawValue: UInt16(truncatingIfNeeded: close.code)))
        case (.greeting, .welcome(let welcome)):
            guard NodeID(welcome.node) == peer else { return close(.outOfState, "another node than the one that was meant") }
            state = .open
            return .open
        case (.open, .ack(let ack)): return .acknowledged(through: ack.number)
        // Of a later version.
        case (.open, nil): return .nothing
        case (.greeting, _), (.open, _): return close(.outOfState, "a frame that is not due")
        }
    }

    mutating func close(_ code: CloseCode, _ reason: String) -> Action {
        if case .closed = state { return .nothing }
        state = .closed
        return .close(code, reason)
    }
}

/// The listening end of a peer link. Pure.
struct PeerListenerMachine {
    private enum State {
        case awaitingHello
        case verifying(NodeID)
        case open(NodeID, lastNumber: UInt64)
        case closed
    }

    enum Action {
        case verify(accessToken: String)
        case welcome(NodeID)
        case pass([RelayMessage], from: NodeID)
        case close(CloseCode, String)
        case nothing
    }

    private let node: NodeID
    private var state = State.awaitingHello

    /// - Parameter node: this one.
    init(node: NodeID) { self.node = node }

    /// Who is connected, once that is proved.
    var peer: NodeID? { if case .open(let peer, _) = state { peer } else { nil } }
    /// Of the last batch that came.
    var lastNumber: UInt64 { if case .open(_, let number) = state { number } else { 0 } }

    mutating func received(_ frame: WirePeerFrame) -> Action {
        switch (state, frame.body) {
        case (.closed, _): return .nothing
        case (_, .close):
            state = .closed
            return .close(.normal, "")
        case (.awaitingHello, .hello(let hello)):
            guard let peer = NodeID(hello.from), peer != node else { return close(.malformed, "hello names no other node") }
            guard NodeID(hello.to) == node else { return close(.outOfState, "this is not the node that is meant") }
            state = .verifying(peer)
            return .verify(accessToken: hello.accessToken)
        case (.open(let peer, let last), .batch(let batch)):
            guard batch.number == last + 1 else { return close(.outOfState, "batch \(batch.number) follows \(last)") }
            state = .open(peer, lastNumber: batch.number)
            return .pass(batch.relayMessages, from: peer)
        // Of a later version.
        case (.open, nil): return .nothing
        case (.awaitingHello, _), (.verifying, _), (.open, _): return close(.outOfState, "a frame that is not due")
        }
    }

    mutating func verified(_ result: Result<AccessGrant, ApusError>) -> Action {
        guard case .verifying(let peer) = state else { return .nothing }
        switch result {
        case .success(let grant):
            guard case .client = grant.subject, grant.scopes.contains(Scope.internal) else {
                return close(.tokenRefused, "the token is not one of a node")
            }
            state = .open(peer, lastNumber: 0)
            return .welcome(peer)
        case .failure(let error) where error.code.isRetryable: return close(.unavailable, error.message)
        case .failure(let error): return close(.tokenRefused, error.message)
        }
    }

    mutating func close(_ code: CloseCode, _ reason: String) -> Action {
        if case .closed = state { return .nothing }
        state = .closed
        return .close(code, reason)
    }
}
