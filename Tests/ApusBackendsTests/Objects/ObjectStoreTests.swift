import ApusBackends
import ApusChaos
import ApusCore
import ApusProtocol
import ApusTesting
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
        try await SeaweedServer.with(program: Seaweed.program) { server in
            try await Seaweed.withStore(try Seaweed.configuration(server)) { store in
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
