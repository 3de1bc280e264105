import Foundation

/// A NATS server without JetStream: it keeps nothing.
public enum NATSServer {
    /// - Parameters:
    ///   - isOpen: it listens on all addresses.
    ///   - options: of the command line, beside where it listens.
    public static func plan(port: Int, isOpen: Bool = false, options: [String] = []) -> MiddlewareProcess.Plan {
        let listen = ["-a", isOpen ? "0.0.0.0" : "127.0.0.1", "-p", "\(port)"]
        return MiddlewareProcess.Plan(name: "NATS", program: "nats-server", arguments: listen + options) {
            await MiddlewareProcess.accepts(port: port)
        }
    }

    /// One server, and its URL.
    public static func with<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (MiddlewareProcess, String) async throws -> Result
    ) async throws -> Result {
        let port = try await MiddlewareProcess.freePort()
        return try await MiddlewareProcess.with(plan(port: port)) { try await body($0, "nats://127.0.0.1:\(port)") }
    }
}
