import Foundation

/// Where the terminal client keeps what it must remember: `APUS_HOME`, by default `.apus` in the user's home.
enum ApusHome {
    static var directory: URL {
        if let path = ProcessInfo.processInfo.environment["APUS_HOME"], !path.isEmpty { return URL(fileURLWithPath: path) }
        return FileManager.default.homeDirectoryForCurrentUser.appendingPathComponent(".apus")
    }
}
