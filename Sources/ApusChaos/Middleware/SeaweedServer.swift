import AsyncHTTPClient
import Foundation
import NIOCore

/// SeaweedFS as an S3 store that checks signatures, with one bucket in it.
public struct SeaweedServer: Sendable {
    public static let bucket = "apus"
    public static let accessKey = "AKAPUSTEST"
    public static let secretKey = "a secret of the tests"

    public let process: MiddlewareProcess
    public let endpoint: String
    public let directory: URL

    /// Starts one in a directory of its own, hands it over when its bucket can be written to, and removes both.
    /// - Parameter program: the path of `weed`, or a name to search for.
    public static func with<Result: Sendable>(
        program: String = "weed", isolation: isolated (any Actor)? = #isolation, _ body: (SeaweedServer) async throws -> Result
    ) async throws -> Result {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-seaweed-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let server = try await SeaweedServer(program: program, directory: directory)
        do {
            try await server.process.start()
            let result = try await body(server)
            await server.process.kill()
            return result
        } catch {
            await server.process.kill()
            throw error
        }
    }

    /// Not running yet, on free ports. Whoever makes one without ``with(program:isolation:_:)`` kills its process in the end.
    public init(program: String = "weed", directory: URL) async throws {
        let ports = try await Ports()
        process = MiddlewareProcess(try Self.plan(program: program, directory: directory, ports: ports))
        endpoint = "http://127.0.0.1:\(ports.s3)"
        self.directory = directory
    }

    /// The settings of a node that keeps its media there.
    public var settings: [String: String] {
        [
            "APUS_OBJECTS_STORE": "s3://\(Self.bucket)?endpoint=\(endpoint)", "APUS_OBJECTS_ACCESS_KEY": Self.accessKey,
            "APUS_OBJECTS_SECRET_KEY": Self.secretKey,
        ]
    }

    /// - Parameter directory: for its data and its keys; a server started on it again has what it had.
    public static func plan(program: String = "weed", directory: URL, ports: Ports) throws -> MiddlewareProcess.Plan {
        let (data, logs) = (directory.appending(path: "data"), directory.appending(path: "logs"))
        for folder in [data, logs] { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }
        let keys = directory.appending(path: "s3.json")
        let identities = """
            {"identities":[{"name":"apus","credentials":[{"accessKey":"\(accessKey)","secretKey":"\(secretKey)"}],\
            "actions":["Admin","Read","Write","List","Tagging"]}]}
            """
        try Data(identities.utf8).write(to: keys)
        var plan = MiddlewareProcess.Plan(
            name: "SeaweedFS", program: program,
            arguments: [
                "-logdir=\(logs.path)", "server", "-dir=\(data.path)", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.port=\(ports.master)", "-master.port.grpc=\(ports.masterRPC)",
                "-volume.port=\(ports.volume)", "-volume.port.grpc=\(ports.volumeRPC)",
                "-filer", "-filer.port=\(ports.filer)", "-filer.port.grpc=\(ports.filerRPC)",
                "-s3", "-s3.port=\(ports.s3)", "-s3.port.grpc=\(ports.s3RPC)", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-s3.config=\(keys.path)", "-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false",
                "-master.electionTimeout=1s", "-master.heartbeatInterval=100ms",
            ],
            timeout: .seconds(90)
        ) {
            try await isReady(ports)
        }
        // Not all of these places can be chosen.
        let sockets = [
            "filer-\(ports.filer)", "s3-\(ports.s3)", "master-grpc-\(ports.masterRPC)", "volume-grpc-\(ports.volumeRPC)",
            "filer-grpc-\(ports.filerRPC)", "s3-grpc-\(ports.s3RPC)",
        ]
        plan.leftovers = sockets.map { "/tmp/seaweedfs-\($0).sock" }
        return plan
    }

    /// Ports of 127.0.0.1 for its parts.
    public struct Ports: Sendable {
        public var master, masterRPC, volume, volumeRPC, filer, filerRPC, s3, s3RPC: Int

        /// Free ones, all different.
        public init() async throws {
            var free: [Int] = []
            while free.count < 8 {
                let port = try await MiddlewareProcess.freePort()
                if !free.contains(port) { free.append(port) }
            }
            (master, masterRPC, volume, volumeRPC) = (free[0], free[1], free[2], free[3])
            (filer, filerRPC, s3, s3RPC) = (free[4], free[5], free[6], free[7])
        }
    }

    /// The bucket is a directory of the filer, whose own door needs no signature. That a file can be written into it says that there are
    /// volumes to write to.
    private static func isReady(_ ports: Ports) async throws -> Bool {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(ports.filer)/buckets/\(bucket)/")
        request.method = .POST
        let made = try await HTTPClient.shared.execute(request, timeout: .seconds(5)).status
        guard made.code < 300 || made == .conflict else { return false }
        request.method = .PUT
        request.url += ".ready"
        request.body = .bytes(ByteBuffer(string: "ready"))
        guard try await HTTPClient.shared.execute(request, timeout: .seconds(5)).status.code < 300 else { return false }
        let health = HTTPClientRequest(url: "http://127.0.0.1:\(ports.s3)/status")
        return try await HTTPClient.shared.execute(health, timeout: .seconds(5)).status.code < 500
    }
}
