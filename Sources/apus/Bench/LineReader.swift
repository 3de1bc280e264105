import Foundation
import NIOPosix

/// Reads JSON documents, one per line, from a pipe. Blocks a thread of its own, never one of the shared pool.
actor LineReader {
    private static let lineBytesMax = 64 << 20

    private let descriptor: Int32
    private let pool: NIOThreadPool
    private var buffer = Data()

    init(descriptor: Int32) {
        self.descriptor = descriptor
        pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
    }

    /// The next line; nil: the other end closed the pipe.
    func next<Message: Decodable>(_ type: Message.Type) async throws -> Message? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer[..<end]
                defer { buffer = Data(buffer[(end + 1)...]) }
                return try JSONDecoder().decode(type, from: line)
            }
            guard buffer.count < Self.lineBytesMax else { throw BenchFailure("an endless line between the processes") }
            let descriptor = descriptor
            let chunk = try await pool.runIfActive { try readAvailable(descriptor) }
            guard !chunk.isEmpty else {
                try await pool.shutdownGracefully()
                return nil
            }
            buffer.append(chunk)
        }
    }
}

/// What the descriptor has, at least a byte; empty at the end of the file.
private func readAvailable(_ descriptor: Int32) throws -> Data {
    var chunk = Data(count: 1 << 16)
    while true {
        let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        if count >= 0 { return chunk.prefix(count) }
        guard errno == EINTR else { throw BenchFailure("cannot read a pipe: \(String(cString: strerror(errno)))") }
    }
}
