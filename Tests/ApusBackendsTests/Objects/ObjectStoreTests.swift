import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
import Foundation
import NIOCore
import Testing

/// Every implementation of the object store keeps the same promises.
@Suite("Object stores", .timeLimit(.minutes(3)))
struct ObjectStoreTests {
    static let promises = ObjectStoreConformance.cases + MultipartUploadConformance.cases

    @Test("in memory", arguments: promises)
    func memory(_ promise: ConformanceCase<ObjectStoreSubject>) async throws {
        try await promise.check(ObjectStoreSubject(store: MemoryObjectStore(), folder: "f"))
    }

    @Test("in local files", arguments: promises)
    func local(_ promise: ConformanceCase<ObjectStoreSubject>) async throws {
        try await withTemporaryDirectory { directory in
            let store = try LocalObjectStore(directory: directory, partBytesMin: 1000)
            try await promise.check(ObjectStoreSubject(store: store, folder: "f"))
        }
    }

    @Test("on S3, which is SeaweedFS here", .enabled(if: Seaweed.isInstalled, "needs `weed`, which `make test` installs"))
    func s3() async throws {
        try await Seaweed.with { configuration in
            try await Seaweed.withStore(configuration) { store in
                for (index, promise) in Self.promises.enumerated() {
                    do {
                        try await promise.check(ObjectStoreSubject(store: store, folder: "case-\(index)"))
                    } catch {
                        Issue.record(error, "\(promise)")
                    }
                }
            }
        }
    }
}

/// The S3 server of the tests.
enum Seaweed {
    /// Installed by `make test`, or found in PATH.
    private static let program: String = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../.venv/bin/weed").standardizedFileURL
        return FileManager.default.isExecutableFile(atPath: file.path) ? file.path : "weed"
    }()

    static let isInstalled = (try? MiddlewareProcess.locate(program)) != nil

    static func with(_ body: (S3Configuration) async throws -> Void) async throws {
        try await SeaweedServer.with(program: program) { server in
            try await body(
                try S3Configuration(
                    endpoint: server.endpoint, bucket: SeaweedServer.bucket, accessKey: SeaweedServer.accessKey,
                    secretKey: SeaweedServer.secretKey))
        }
    }

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
