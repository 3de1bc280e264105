import ApusProtocol
import AsyncAlgorithms
import Hummingbird
import NIOConcurrencyHelpers
import NIOCore

/// Thrown into the request to the node when the client's body ends before its time.
struct UploadFailure: Error {
    var reason: ApusError
}

/// A client's body on its way to a node, one piece at a time: the next one is read from the client when the HTTP client has taken
/// the one before. That stops taking when the node's socket is full, as soon as its event loop gets round to saying so.
///
/// The client's connection is read by ``pump(_:)`` alone and not by the HTTP client, which may hold on to its body after it has
/// answered: nobody must read from a connection that has gone on to its next request.
final class Upload: Sendable {
    let parts = AsyncThrowingChannel<ByteBuffer, any Error>()
    /// Nil: not announced.
    let length: Int?

    private let bytesMax: Int
    private let complete = NIOLockedValueBox(false)

    init(length: Int?, bytesMax: Int) {
        self.length = length
        self.bytesMax = bytesMax
    }

    /// Whether all of it has been read.
    var isComplete: Bool { complete.withLockedValue { $0 } }

    /// Reads the body to its end, or until the task is cancelled.
    /// - Throws: ``ApusError`` `too_large`; `malformed` when the client goes in the middle.
    func pump(_ body: RequestBody) async throws {
        do {
            var bytes = 0
            for try await part in body {
                bytes += part.readableBytes
                guard bytes <= bytesMax else { throw ApusError(.tooLarge, "the body has more than \(bytesMax) bytes") }
                await parts.send(part)
            }
            // A body whose reading is cancelled looks like one that has ended.
            try Task.checkCancellation()
            complete.withLockedValue { $0 = true }
            parts.finish()
        } catch {
            let reason = error as? ApusError ?? ApusError(.malformed, "the body broke off", cause: error)
            parts.fail(UploadFailure(reason: reason))
            throw reason
        }
    }
}

/// - Throws: `error` when `body` takes longer than `timeout`; it is cancelled then.
func withDeadline<Value: Sendable>(
    _ timeout: Duration, _ error: ApusError, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: timeout)
            return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let value = first else { throw error }
        return value
    }
}
