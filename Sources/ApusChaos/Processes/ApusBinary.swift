import Foundation

#if canImport(Darwin)
import Darwin
#endif

/// The `apus` executable that belongs to the running code: this very program, or what the build put beside the test bundle.
public enum ApusBinary {
    public static func locate() throws -> URL {
        let image = imagePath()
        if image.lastPathComponent == "apus" { return image }
        // Linux: .build/debug/apusPackageTests.xctest; macOS: the same with /Contents/MacOS/apusPackageTests behind it.
        var directory = image.deletingLastPathComponent()
        for _ in 0..<5 {
            let candidate = directory.appending(path: "apus")
            if FileManager.default.isExecutableFile(atPath: candidate.path), !candidate.hasDirectoryPath { return candidate }
            directory.deleteLastPathComponent()
        }
        throw ServerProcessError("there is no executable apus beside \(image.path)")
    }

    /// The file that this code was loaded from. Not `Bundle.main`, which on macOS is the tool that loads the test bundle.
    private static func imagePath() -> URL {
        #if canImport(Darwin)
        var info = Dl_info()
        if dladdr(#dsohandle, &info) != 0, let name = info.dli_fname {
            return URL(filePath: String(cString: name)).resolvingSymlinksInPath()
        }
        #endif
        return URL(filePath: Bundle.main.executablePath ?? CommandLine.arguments[0]).resolvingSymlinksInPath()
    }
}
