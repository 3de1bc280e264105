import ApusCore
import NIOConcurrencyHelpers

/// The address of a listener, known once it is bound.
public final class BoundAddress: Sendable {
    private enum State {
        case unknown([CheckedContinuation<NetworkAddress, any Error>])
        case known(Result<NetworkAddress, any Error>)
    }

    private let state = NIOLockedValueBox(State.unknown([]))

    public init() {}

    /// Waits until the listener is bound.
    /// - Throws: what kept it from being bound.
    public var value: NetworkAddress {
        get async throws {
            try await withCheckedThrowingContinuation { continuation in
                let result: Result<NetworkAddress, any Error>? = state.withLockedValue { state in
                    switch state {
                    case .known(let result): return result
                    case .unknown(let waiting):
                        state = .unknown(waiting + [continuation])
                        return nil
                    }
                }
                if let result { continuation.resume(with: result) }
            }
        }
    }

    /// The first call decides.
    /// - Returns: whether this was the first one.
    @discardableResult
    func resolve(_ result: Result<NetworkAddress, any Error>) -> Bool {
        let waiting: [CheckedContinuation<NetworkAddress, any Error>]? = state.withLockedValue { state in
            guard case .unknown(let waiting) = state else { return nil }
            state = .known(result)
            return waiting
        }
        for continuation in waiting ?? [] { continuation.resume(with: result) }
        return waiting != nil
    }
}
