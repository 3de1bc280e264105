import NIOConcurrencyHelpers
import NIOCore

/// An address without its port, small enough to keep one per connection.
struct AddressKey: Hashable, Sendable {
    private var high: UInt64 = 0
    private var low: UInt64 = 0

    init?(_ address: SocketAddress?) {
        switch address {
        case .v4(let address): low = UInt64(address.address.sin_addr.s_addr)
        case .v6(let address):
            withUnsafeBytes(of: address.address.sin6_addr) { bytes in
                high = bytes.loadUnaligned(as: UInt64.self)
                low = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            }
        case .unixDomainSocket, nil: return nil
        }
    }
}

/// Bounds what strangers can cost: connections in all, and per address those that have not logged in yet.
final class ConnectionGate: Sendable {
    private struct State {
        var connections = 0
        var handshakes: [AddressKey: Int] = [:]
        var isOpen = true
        var limits: Limits
    }

    struct Limits: Sendable, Hashable {
        var connectionsMax: Int
        var handshakesPerAddressMax: Int
    }

    private let state: NIOLockedValueBox<State>

    init(_ limits: Limits) { state = NIOLockedValueBox(State(limits: limits)) }

    /// For connections from here on; nobody who is in is sent away.
    func set(_ limits: Limits) { state.withLockedValue { $0.limits = limits } }

    /// Whether one more connection may come in. Pair with ``connectionEnded()`` and ``handshakeEnded(_:)``.
    func admit(_ address: AddressKey?) -> Bool {
        state.withLockedValue { state in
            guard state.isOpen, state.connections < state.limits.connectionsMax else { return false }
            if let address {
                guard state.handshakes[address, default: 0] < state.limits.handshakesPerAddressMax else { return false }
                state.handshakes[address, default: 0] += 1
            }
            state.connections += 1
            return true
        }
    }

    func handshakeEnded(_ address: AddressKey) {
        state.withLockedValue { state in
            let left = (state.handshakes[address] ?? 0) - 1
            state.handshakes[address] = left > 0 ? left : nil
        }
    }

    func connectionEnded() { state.withLockedValue { $0.connections -= 1 } }

    /// Lets nobody in any more.
    func shut() { state.withLockedValue { $0.isOpen = false } }

    var connectionCount: Int { state.withLockedValue { $0.connections } }
}
