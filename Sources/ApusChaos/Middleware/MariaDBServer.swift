import Foundation

/// A MariaDB server on 127.0.0.1, with one database and one user who may do everything. Its process can be killed and started again:
/// what was committed is in the directory.
public struct MariaDBServer: Sendable {
    public static let user = "apus"
    public static let password = "apus-on-loopback"
    public static let database = "apus"

    public let process: MiddlewareProcess
    public let port: Int
    private let address: String

    /// Makes an empty server in the directory unless there is one already, and starts it.
    ///
    /// Whoever makes one without ``with(syncsToDisk:arguments:isolation:_:)`` kills its process in the end.
    ///
    /// - Parameters:
    ///   - syncsToDisk: false: it leaves it to the kernel when to write, which is faster. What it committed survives `kill -9` of its
    ///     process, not a crash of the machine.
    ///   - address: where it listens beside 127.0.0.1, and what ``url(database:)`` names.
    ///   - arguments: more of them for `mariadbd`.
    public init(
        directory: URL, port: Int, syncsToDisk: Bool = true, address: String? = nil, arguments: [String] = []
    ) async throws {
        self.address = address ?? "127.0.0.1"
        let user = "'\(Self.user)'@'\(address == nil ? "127.0.0.1" : "%")'"
        let data = directory.appending(path: "data")
        if !FileManager.default.fileExists(atPath: data.appending(path: "mysql").path) {
            try await Self.makeData(data)
        }
        let initFile = directory.appending(path: "init.sql")
        try Data(
            """
            CREATE DATABASE IF NOT EXISTS \(Self.database) CHARACTER SET utf8mb4;
            CREATE USER IF NOT EXISTS \(user) IDENTIFIED BY '\(Self.password)';
            GRANT ALL ON *.* TO \(user);

            """.utf8
        ).write(to: initFile)
        var plan = Self.plan(data: data, socket: directory.appending(path: "m.sock"), initFile: initFile, port: port)
        if !syncsToDisk { plan.arguments += ["--innodb-flush-method=nosync", "--sync-frm=0"] }
        if let address { plan.arguments.append("--bind-address=127.0.0.1,\(address)") }
        plan.arguments += arguments
        process = MiddlewareProcess(plan)
        self.port = port
        do {
            try await process.start()
        } catch {
            await process.kill()
            throw error
        }
    }

    /// For a store: `mysql://user:password@127.0.0.1:port/database`.
    public func url(database: String = MariaDBServer.database) -> String {
        "mysql://\(Self.user):\(Self.password)@\(address):\(port)/\(database)"
    }

    /// Runs one statement.
    /// - Throws: ``ServerProcessError`` with what the server says against it.
    public func ask(_ statement: String) async throws {
        let result = try await Command.run(
            try Command.locate("mariadb"),
            [
                "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--port=\(port)", "--user=\(Self.user)",
                "--password=\(Self.password)",
                "--execute=\(statement)",
            ], timeout: .seconds(30))
        guard result.exit == .code(0) else { throw ServerProcessError("MariaDB: \(result.errors)") }
    }

    /// Starts one in a directory of its own, hands it over, kills it and removes the directory.
    public static func with<Result: Sendable>(
        syncsToDisk: Bool = true, arguments: [String] = [], isolation: isolated (any Actor)? = #isolation,
        _ body: (MariaDBServer) async throws -> Result
    ) async throws -> Result {
        // Short: the path of a socket file has to fit into some hundred bytes.
        let directory = FileManager.default.temporaryDirectory.appending(path: "apus-m-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(
            at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let outcome: Swift.Result<Result, any Error>
        do {
            let server = try await MariaDBServer(
                directory: directory, port: try await MiddlewareProcess.freePort(), syncsToDisk: syncsToDisk, arguments: arguments)
            do {
                outcome = .success(try await body(server))
            } catch {
                outcome = .failure(error)
            }
            await server.process.kill()
        } catch {
            outcome = .failure(error)
        }
        try FileManager.default.removeItem(at: directory)
        return try outcome.get()
    }

    private static func plan(data: URL, socket: URL, initFile: URL, port: Int) -> MiddlewareProcess.Plan {
        MiddlewareProcess.Plan(
            name: "MariaDB", program: "mariadbd",
            arguments: [
                "--no-defaults", "--datadir=\(data.path)", "--bind-address=127.0.0.1", "--port=\(port)", "--socket=\(socket.path)",
                "--init-file=\(initFile.path)", "--skip-name-resolve", "--character-set-server=utf8mb4",
                "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
                "--max-connections=300", "--open-files-limit=8192",
            ] + runsAs,
            isReady: { await MiddlewareProcess.accepts(port: port) })
    }

    private static func makeData(_ data: URL) async throws {
        let result = try await Command.run(
            try Command.locate("mariadb-install-db"),
            ["--no-defaults", "--datadir=\(data.path)", "--auth-root-authentication-method=normal", "--skip-test-db"] + runsAs,
            timeout: .seconds(120))
        guard result.exit == .code(0) else {
            throw ServerProcessError("mariadb-install-db: \(result.exit)\n\(result.output)\n\(result.errors)")
        }
    }

    /// It refuses to be root unless it is told to be.
    private static var runsAs: [String] { geteuid() == 0 ? ["--user=root"] : [] }
}
