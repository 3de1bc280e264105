import NIOConcurrencyHelpers

/// Whether this process wants traffic, and what it misses. The composition sets it; `/readyz` and load balancers read it.
public final class Readiness: Sendable {
    public enum State: String, Sendable, Codable {
        case starting
        /// Something that it cannot work without is not there.
        case waiting
        case ready, draining
    }

    /// What is not there, by the names that people know it by: `mysql`, `redis`.
    public struct Missing: Sendable, Hashable {
        /// What the process cannot work without.
        public var needed: Set<String>
        /// What it works without, more slowly or with less.
        public var useful: Set<String>

        public init(needed: Set<String> = [], useful: Set<String> = []) {
            self.needed = needed
            self.useful = useful
        }

        var names: [String] { needed.union(useful).sorted() }
    }

    private struct Values {
        /// Where the process is in its life, whatever is missing.
        var phase: State
        var missing = Missing()
    }

    private let values: NIOLockedValueBox<Values>

    public init(_ state: State = .starting) { values = NIOLockedValueBox(Values(phase: state)) }

    public var state: State { report.state }

    public func set(_ state: State) { values.withLockedValue { $0.phase = state } }

    /// Replaces what was missing before.
    public func set(_ missing: Missing) { values.withLockedValue { $0.missing = missing } }

    /// As it is at one moment.
    var report: (state: State, missing: [String]) {
        let values = values.withLockedValue { $0 }
        let isWaiting = values.phase != .draining && !values.missing.needed.isEmpty
        return (isWaiting ? .waiting : values.phase, values.missing.names)
    }
}
