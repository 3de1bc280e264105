import ApusCore
import ApusProtocol
import Foundation

/// The configuration centre of a single node, or of nodes that share a directory: a document is a file of its name there.
public struct FileConfigurationCentre: ConfigurationCentre {
    private let directory: URL
    private let pollInterval: Duration
    /// A larger file is refused: settings are small.
    private static let bytesMax = 1 << 20

    public init(directory: URL, pollInterval: Duration = .seconds(1)) {
        self.directory = directory
        self.pollInterval = pollInterval
    }

    public func text(of name: String) async throws -> String {
        try DocumentName.check(name)
        let file = directory.appending(path: name)
        do {
            let handle = try FileHandle(forReadingFrom: file)
            defer { try? handle.close() }
            let bytes = try handle.read(upToCount: Self.bytesMax + 1) ?? Data()
            guard bytes.count <= Self.bytesMax else { throw ApusError(.tooLarge, "\(file.path) is larger than \(Self.bytesMax) bytes") }
            return String(decoding: bytes, as: UTF8.self)
        } catch let error as CocoaError where error.code == .fileNoSuchFile || error.code == .fileReadNoSuchFile {
            return ""
        } catch let error as ApusError {
            throw error
        } catch {
            throw ApusError(.storeUnavailable, "\(file.path) cannot be read", cause: error)
        }
    }

    /// Reads the file at every poll: it is small, and two changes within the resolution of its time stamp both count.
    public func changes(of name: String) -> AsyncStream<String> {
        let last = LastText()
        return AsyncStream {
            while !Task.isCancelled {
                if let text = try? await text(of: name), last.replace(with: text) { return text }
                try? await Task.sleep(for: pollInterval)
            }
            return nil
        }
    }
}
