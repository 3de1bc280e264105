import ApusProtocol

/// Keeps documents of settings that may change while nodes run; people edit them with the centre's own tools.
///
/// A document that does not exist is the empty text: nothing is set.
public protocol ConfigurationCentre: Sendable {
    /// The document as it is now.
    /// - Throws: ``ApusError`` `invalid_argument` when the centre can have no document of this name; `store_unavailable` when it cannot
    ///   be reached in time.
    func text(of name: String) async throws -> String
    /// The document as it is, then anew after each change. Of several changes a slow reader gets the last one only. While the centre
    /// cannot be reached nothing comes. Ends when the reading task is cancelled. To be read by one task.
    func changes(of name: String) -> AsyncStream<String>
}
