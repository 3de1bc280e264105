import Foundation
import NIOConcurrencyHelpers
import NIOPosix

/// Reads what comes from a descriptor, on a thread of its own: a read that blocks must never hold one of the shared pool.
struct ByteReader: Sendable {
    private typealias Waiter = CheckedContinuation<Data?, any Error>

    private let descriptor: Int32
    private let pool: NIOThreadPool
    private let waiter = NIOLockedValueBox<Waiter?>(nil)

    init(descriptor: Int32) {
        self.descriptor = descriptor
        pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
    }

    /// At least a byte; nil: the input is over, or the waiting task was cancelled. The read itself cannot be cancelled, so that a
    /// cancelled reader must not be asked again: what comes then is lost.
    func next() async throws -> Data? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: Waiter) in
                waiter.withLockedValue { $0 = continuation }
                // Cancelled before there was anything to wake.
                guard !Task.isCancelled else { return answer(.success(nil)) }
                pool.submit { state in
                    guard case .active = state else { return answer(.success(nil)) }
                    answer(Result { try readAvailable(descriptor) })
                }
            }
        } onCancel: {
            answer(.success(nil))
        }
    }

    private func answer(_ result: Result<Data?, any Error>) {
        let waiter = waiter.withLockedValue { waiter in
            defer { waiter = nil }
            return waiter
        }
        waiter?.resume(with: result.map { $0?.isEmpty == true ? nil : $0 })
    }
}

/// Reads lines from a descriptor.
actor LineReader {
    struct EndlessLine: Error, CustomStringConvertible {
        var description: String { "a line of more than \(lineBytesMax) bytes" }
    }

    private static let lineBytesMax = 64 << 20

    private let bytes: ByteReader
    private var buffer = Data()
    /// Where the part of the buffer begins that nobody has had yet.
    private var start = 0
    private var isOver = false

    init(descriptor: Int32) { bytes = ByteReader(descriptor: descriptor) }

    /// The next line without its end; nil: the input is over. A last line without an end counts.
    func nextLine() async throws -> Data? {
        while true {
            if let end = buffer[start...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                return Data(buffer[start..<end])
            }
            buffer = Data(buffer[start...])
            start = 0
            if isOver {
                defer { buffer = Data() }
                return buffer.isEmpty ? nil : buffer
            }
            guard buffer.count < Self.lineBytesMax else { throw EndlessLine() }
            if let chunk = try await bytes.next() {
                buffer.append(chunk)
            } else {
                isOver = true
            }
        }
    }

    /// The next line as a JSON document.
    func next<Message: Decodable>(_ type: Message.Type) async throws -> Message? {
        try await nextLine().map { try JSONDecoder().decode(type, from: $0) }
    }
}

/// What the descriptor has, at least a byte; empty at the end of the file.
private func readAvailable(_ descriptor: Int32) throws -> Data {
    var chunk = Data(count: 1 << 16)
    while true {
        let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        if count >= 0 { return chunk.prefix(count) }
        guard errno == EINTR else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    }
}
