import ApusBackends
import ApusCore
import ApusProtocol
import Foundation

/// An object store that is open, and what ends it.
struct OpenObjects: Sendable {
    var store: any ObjectStore & MultipartUploads
    var close: @Sendable () async throws -> Void

    /// Nil: a node of a cluster without `objects.store`, where there is no place for files that all nodes see.
    /// - Throws: ``StartError``.
    static func open(_ configuration: ServerConfiguration) throws -> OpenObjects? {
        if !configuration.objects.store.isEmpty {
            let store = try S3ObjectStore(try configuration.s3Settings)
            return OpenObjects(store: store, close: { try await store.close() })
        }
        guard !configuration.isCluster else { return nil }
        do {
            let directory = URL(filePath: configuration.data).appending(path: "media")
            return OpenObjects(store: try LocalObjectStore(directory: directory), close: {})
        } catch {
            throw StartError.store(String(describing: error))
        }
    }
}

/// The check of a bucket at the start.
struct ObjectsSettings: Sendable {
    private let s3: S3Configuration

    /// Nil: this process begins without it. In a cluster that is every node but those of the role `web`, which hands media out: nobody
    /// else has to stand still for the bucket.
    init?(_ configuration: ServerConfiguration) throws {
        guard !configuration.objects.store.isEmpty, !configuration.isCluster || configuration.activeRoles.contains(.web) else { return nil }
        var s3 = try configuration.s3Settings
        // Whoever waits asks again by himself.
        s3.attemptsMax = 1
        s3.timeout = .seconds(3)
        self.s3 = s3
    }

    /// - Throws: as ``Prerequisite/check``.
    @Sendable func check() async throws {
        let store = try S3ObjectStore(s3)
        let result = await Result { try await store.check() }
        try await store.close()
        do {
            try result.get()
        } catch let error as ApusError where error.code == .internal || error.code == .notFound {
            // It answers, and does not take the keys or does not have the bucket.
            throw StartError.configuration("objects.store: \(error)")
        }
    }
}

extension ServerConfiguration {
    /// - Throws: ``StartError``.
    fileprivate var s3Settings: S3Configuration {
        get throws {
            do {
                return try S3Configuration(url: objects.store, accessKey: objects.accessKey, secretKey: objects.secretKey)
            } catch let error as ApusError where error.code == .invalidArgument {
                throw StartError.configuration("objects.store: \(error.message)")
            }
        }
    }
}
