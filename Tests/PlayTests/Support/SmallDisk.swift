import ApusChaos
import Foundation

/// A server program whose data directory is a small file system in memory, in a mount namespace of its own: gone with the process.
struct SmallDisk {
    private let directory: URL
    /// To be started instead of `apus`.
    let binary: URL

    /// Whether this user may make such a namespace.
    static let isPossible: Bool = {
        #if os(Linux)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
        #else
        return false
        #endif
    }()

    init(megabytes: Int) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "apus-disk-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        binary = directory.appending(path: "apus-on-small-disk")
        // Each step replaces the process, so that the server has the id of what was started. $3 is the data directory of
        // `serve --data DIR`.
        let script = """
            #!/bin/sh
            mkdir -p "$3"
            exec unshare -rm sh -c 'mount -t tmpfs -o size=\(megabytes)m none "$3" && exec "$0" "$@"' '\(try ApusBinary.locate().path)' "$@"
            """
        try Data(script.utf8).write(to: binary)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: binary.path)
    }

    /// Writes a file that leaves no room, and says where it is.
    func fill(_ server: ServerProcess) async throws -> URL {
        guard let id = await server.processID else { throw PlaySocket.Unexpected(description: "the server does not run") }
        let ballast = URL(filePath: "/proc/\(id)/root\(server.data.path)/ballast")
        _ = FileManager.default.createFile(atPath: ballast.path, contents: nil)
        let file = try FileHandle(forWritingTo: ballast)
        defer { try? file.close() }
        for size in [1 << 20, 1 << 12] {
            // Ends when nothing of this size fits any more.
            while (try? file.write(contentsOf: Data(count: size))) != nil {}
        }
        return ballast
    }

    func remove() { try? FileManager.default.removeItem(at: directory) }
}
