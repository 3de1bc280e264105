import Foundation

#if canImport(Glibc)
import Glibc
#endif

/// A network namespace of this process, in which it may build and cut networks without touching the machine's.
public enum NetworkNamespace {
    /// Tells the process that runs in place of this one that it has one already.
    private static let mark = "APUS_CHAOS_NAMESPACE"
    private static let tools = ["ip", "nft", "nsenter", "unshare"]

    /// Why this process can have none; nil: it can.
    public static var obstacle: String? {
        #if os(Linux)
        guard geteuid() == 0 else { return "needs root" }
        let missing = tools.filter { (try? Command.locate($0)) == nil }
        if !missing.isEmpty { return "needs \(missing.joined(separator: ", ")) (Debian: iproute2, nftables, util-linux)" }
        return nil
        #else
        return "needs the network namespaces of Linux"
        #endif
    }

    /// Whether this process runs in one that ``enter()`` made.
    public static var isEntered: Bool { ProcessInfo.processInfo.environment[mark] != nil }

    /// Runs this program again, from its beginning, in a namespace of its own, in place of this process. It ends with the last process in it.
    /// A namespace belongs to a thread, so a process with several cannot simply change its own.
    /// - Throws: ``ServerProcessError`` when that failed; otherwise it does not return.
    public static func enter() throws -> Never {
        let unshare = try Command.locate("unshare").path
        let program = try ApusBinary.locate().path
        // Foundation cannot run processes while the loopback is down.
        let shell = ["/bin/sh", "-c", #"ip link set lo up && exec "$0" "$@""#, program]
        var arguments = (["unshare", "--net", "--"] + shell + CommandLine.arguments.dropFirst()).map { strdup($0) } + [nil]
        setenv(mark, "1", 1)
        execv(unshare, &arguments)
        throw ServerProcessError("\(unshare) cannot be run: \(String(cString: strerror(errno)))")
    }

    static func run(_ program: String, _ arguments: [String]) async throws {
        let result = try await Command.run(try Command.locate(program), arguments, timeout: .seconds(30))
        guard result.exit == .code(0) else {
            throw ServerProcessError("\(program) \(arguments.joined(separator: " ")): \(result.exit)\n\(result.errors)")
        }
    }
}
