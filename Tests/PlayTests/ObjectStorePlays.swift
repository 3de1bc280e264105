import ApusChaos
import Foundation
import Testing

@testable import ApusChaos

/// Installed by `make test`, or found in PATH.
private let weed: String = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../.venv/bin/weed").standardizedFileURL
    return FileManager.default.isExecutableFile(atPath: file.path) ? file.path : "weed"
}()

@Suite(
    "Plays: the object store of a server", .serialized,
    .enabled(if: (try? Command.locate(weed)) != nil, "needs SeaweedFS in .venv or PATH; `make test` installs it"),
    .timeLimit(.minutes(4)))
struct ObjectStorePlays {
    private func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "apus-o-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }

    /// Starts a single node with these settings; it is gone afterwards.
    private func withServer(
        _ arguments: [String], _ environment: [String: String], in folder: URL,
        _ body: (ServerProcess, Task<ServerProcess.Endpoints, any Error>) async throws -> Void
    ) async throws {
        let options = try ServerProcess.Options(arguments: ["--drain-seconds", "0"] + arguments, environment: environment)
        let server = ServerProcess(options, data: folder.appending(path: "data"))
        let start = Task { try await server.start() }
        do {
            try await body(server, start)
            await server.kill()
            _ = await start.result
        } catch {
            await server.kill()
            _ = await start.result
            throw error
        }
    }

    @Test("A server waits for its bucket; wrong keys and a bucket that is not there end the start")
    func bucket() async throws {
        try await withFolder { folder in
            let objects = try await SeaweedServer(program: weed, directory: folder)
            do {
                try await play(objects, folder)
                await objects.process.kill()
            } catch {
                await objects.process.kill()
                throw error
            }
        }
    }

    private func play(_ objects: SeaweedServer, _ folder: URL) async throws {
        let http = "127.0.0.1:\(try await MiddlewareProcess.freePort())"
        try await withServer(["--http", http], objects.settings, in: folder) { server, start in
            try await NodeHealth.become(.waiting("objects"), at: http)
            try await objects.process.start()
            #expect(try await start.value.http == http)
            try await NodeHealth.become(.ready, at: http)
            try await server.terminate()
        }
        for (name, value) in [
            ("APUS_OBJECTS_SECRET_KEY", "another secret of the tests"),
            ("APUS_OBJECTS_STORE", "s3://nonsuch?endpoint=\(objects.endpoint)"),
        ] {
            try await withServer([], objects.settings.merging([name: value]) { $1 }, in: folder) { server, start in
                let failure = await #expect(throws: ServerProcessError.self) { try await start.value }
                #expect(failure?.description.contains("exit code 78\n") == true, "\(failure?.description ?? "")")
                #expect(server.log.text.contains("objects.store: "))
                #expect(!server.log.text.contains("another secret"))
            }
        }
    }

    @Test("Without a setting a single server has its files in the data directory")
    func local() async throws {
        try await withFolder { folder in
            try await withServer([], [:], in: folder) { server, start in
                _ = try await start.value
                #expect(FileManager.default.fileExists(atPath: folder.appending(path: "data/media/objects").path))
                try await server.terminate()
            }
        }
    }
}
