import NIOConcurrencyHelpers

/// Whether this process wants traffic. The composition sets it; `/readyz` and load balancers read it.
public final class Readiness: Sendable {
    public enum State: String, Sendable, Codable {
        case starting, ready, draining
    }

    private let box: NIOLockedValueBox<State>

    public init(_ state: State = .starting) { box = NIOLockedValueBox(state) }

    public var state: State { box.withLockedValue { $0 } }

    public func set(_ state: State) { box.withLockedValue { $0 = state } }
}
