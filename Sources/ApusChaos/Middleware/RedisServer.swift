import Foundation
import NIOCore
import NIOPosix

/// Real Redis servers on loopback: one, three as a cluster, one with TLS and a password. Each in its own directory, nothing on disk
/// but the map of a cluster: a Redis that was killed comes back empty, as Apus must expect it to.
public enum RedisServer {
    /// One server.
    /// - Parameter address: where it listens beside 127.0.0.1.
    public static func plan(directory: URL, port: Int, address: String? = nil) -> MiddlewareProcess.Plan {
        var arguments = ["--port", "\(port)"]
        // The last `--bind` counts.
        if let address { arguments += ["--bind", "127.0.0.1", address, "--protected-mode", "no"] }
        return plan(directory: directory, port: port, arguments: arguments, client: [])
    }

    /// One server of a cluster; ``formCluster(ports:)`` joins them once they all run.
    public static func clusterNodePlan(directory: URL, port: Int) -> MiddlewareProcess.Plan {
        plan(
            directory: directory, port: port,
            arguments: [
                "--port", "\(port)", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000",
                "--cluster-port", "\(port + clusterBusOffset)",
            ], client: [])
    }

    /// TLS only, with the certificate of ``makeCertificate(in:)``, and a password for the user `default`.
    public static func tlsPlan(directory: URL, port: Int, certificate: Certificate, password: String) -> MiddlewareProcess.Plan {
        plan(
            directory: directory, port: port,
            arguments: [
                "--port", "0", "--tls-port", "\(port)", "--tls-cert-file", certificate.certificate, "--tls-key-file", certificate.key,
                "--tls-ca-cert-file", certificate.certificate, "--tls-auth-clients", "no", "--requirepass", password,
            ], client: ["--tls", "--cacert", certificate.certificate, "-a", password, "--no-auth-warning"])
    }

    private static func plan(directory: URL, port: Int, arguments: [String], client: [String]) -> MiddlewareProcess.Plan {
        MiddlewareProcess.Plan(
            name: "Redis", program: "redis-server",
            arguments: ["--bind", "127.0.0.1", "--dir", directory.path, "--save", "", "--appendonly", "no"] + arguments
        ) {
            guard await MiddlewareProcess.accepts(port: port) else { return false }
            return try await ask(port: port, client + ["PING"]).contains("PONG")
        }
    }

    // MARK: Running

    /// One server, and its port.
    public static func with<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (MiddlewareProcess, Int) async throws -> Result
    ) async throws -> Result {
        try await withDirectory { directory in
            let port = try await freePort()
            return try await MiddlewareProcess.with(plan(directory: directory, port: port)) { try await body($0, port) }
        }
    }

    /// Three masters that have all slots between them, and their ports.
    public static func withCluster<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: ([MiddlewareProcess], [Int]) async throws -> Result
    ) async throws -> Result {
        try await withDirectory { directory in
            let ports = [try await freePort(), try await freePort(), try await freePort()]
            func plan(_ index: Int) throws -> MiddlewareProcess.Plan {
                let own = directory.appending(path: "\(ports[index])")
                try FileManager.default.createDirectory(at: own, withIntermediateDirectories: true)
                return clusterNodePlan(directory: own, port: ports[index])
            }
            return try await MiddlewareProcess.with(plan(0)) { first in
                try await MiddlewareProcess.with(plan(1)) { second in
                    try await MiddlewareProcess.with(plan(2)) { third in
                        try await formCluster(ports: ports)
                        return try await body([first, second, third], ports)
                    }
                }
            }
        }
    }

    /// One server with TLS and a password, its port and its certificate.
    public static func withTLS<Result: Sendable>(
        password: String, isolation: isolated (any Actor)? = #isolation,
        _ body: (MiddlewareProcess, Int, Certificate) async throws -> Result
    ) async throws -> Result {
        try await withDirectory { directory in
            let port = try await freePort()
            let certificate = try await makeCertificate(in: directory)
            let plan = tlsPlan(directory: directory, port: port, certificate: certificate, password: password)
            return try await MiddlewareProcess.with(plan) { try await body($0, port, certificate) }
        }
    }

    /// Gives three or more empty servers all slots; returns when each of them says that the cluster is whole.
    public static func formCluster(ports: [Int]) async throws {
        let answer = try await run(["--cluster", "create"] + ports.map { "127.0.0.1:\($0)" } + ["--cluster-yes"])
        let deadline = ContinuousClock.now + .seconds(30)
        for port in ports {
            // There is no event for "the cluster is whole": it is asked.
            while !(try await ask(port: port, ["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
                guard ContinuousClock.now < deadline else { throw ServerProcessError("no Redis cluster came about\n\(answer)") }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    /// Sends one command with redis-cli; returns what it prints. An error of Redis is printed too.
    @discardableResult
    public static func ask(port: Int, _ command: [String]) async throws -> String { try await run(["-p", "\(port)"] + command) }

    private static func run(_ arguments: [String]) async throws -> String {
        let result = try await Command.run(try Command.locate("redis-cli"), arguments, timeout: .seconds(30))
        return result.output + result.errors
    }

    // MARK: Certificates

    /// PEM files.
    public struct Certificate: Sendable, Hashable {
        public var certificate: String
        public var key: String
    }

    /// A self-signed certificate for localhost and 127.0.0.1, which is its own authority.
    public static func makeCertificate(in directory: URL) async throws -> Certificate {
        let made = Certificate(
            certificate: directory.appending(path: "redis.crt").path, key: directory.appending(path: "redis.key").path)
        let result = try await Command.run(
            try Command.locate("openssl"),
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.key, "-out", made.certificate,
            ], timeout: .seconds(30))
        guard result.exit == .code(0) else { throw ServerProcessError("openssl made no certificate\n\(result.errors)") }
        return made
    }

    // MARK: Parts

    private static let clusterBusOffset = MiddlewareProcess.portStep - 1

    /// A port that is free, and so is the next one, for the cluster bus.
    public static func freePort() async throws -> Int { try await MiddlewareProcess.lastingPorts(1)[0] }

    private static func withDirectory<Result: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (URL) async throws -> Result
    ) async throws -> Result {
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-redis-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        do {
            let result = try await body(directory)
            try FileManager.default.removeItem(at: directory)
            return result
        } catch {
            try? FileManager.default.removeItem(at: directory)
            throw error
        }
    }
}
