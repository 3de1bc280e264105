import NIOConcurrencyHelpers

/// A setting that may change while the server runs: whoever goes by it asks for its value each time, and nobody is told of a change.
public final class LiveSetting<Value: Sendable>: Sendable {
    private let box: NIOLockedValueBox<Value>

    public init(_ value: Value) { box = NIOLockedValueBox(value) }

    public var value: Value { box.withLockedValue { $0 } }

    public func set(_ value: Value) { box.withLockedValue { $0 = value } }
}
