import ApusBackends
import ApusChaos
import ApusCore
import Foundation

/// The S3 server of the tests.
enum Seaweed {
    /// Installed by `make test`, or found in PATH.
    static let program: String = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../.venv/bin/weed").standardizedFileURL
        return FileManager.default.isExecutableFile(atPath: file.path) ? file.path : "weed"
    }()

    static let isInstalled = (try? Command.locate(program)) != nil

    static func configuration(_ server: SeaweedServer) throws -> S3Configuration {
        try S3Configuration(
            endpoint: server.endpoint, bucket: SeaweedServer.bucket, accessKey: SeaweedServer.accessKey,
            secretKey: SeaweedServer.secretKey)
    }

    /// A store that is closed afterwards.
    static func withStore(
        _ configuration: S3Configuration, clock: any WallClock = SystemClock(), _ body: (S3ObjectStore) async throws -> Void
    ) async throws {
        let store = try S3ObjectStore(configuration, clock: clock)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(store))
        } catch {
            result = .failure(error)
        }
        try await store.close()
        try result.get()
    }
}
