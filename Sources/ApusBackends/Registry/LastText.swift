import NIOConcurrencyHelpers

/// What a stream of changes has handed out last.
final class LastText: Sendable {
    private let text = NIOLockedValueBox<String?>(nil)

    /// False when it is the same.
    func replace(with new: String) -> Bool {
        text.withLockedValue { text in
            guard text != new else { return false }
            text = new
            return true
        }
    }
}
