import ApusCore
import ApusProtocol
import Crypto
import Foundation
import NIOConcurrencyHelpers
import NIOPosix
import ServiceLifecycle
import _CryptoExtras

/// scrypt (RFC 7914) on threads of its own: a hash takes a core for a tenth of a second, which no event loop and no thread of
/// the concurrency pool can spare.
///
/// A hash is a string `$scrypt$ln=15,r=8,p=1$SALT$KEY` (PHC string format), so that parameters may change and old hashes stay
/// valid.
public final class ScryptPasswordHasher: PasswordHasher, Service {
    public struct Parameters: Sendable, Hashable {
        /// Logarithm of the number of rounds. Memory is `128 * blockSize * 2^logRounds` bytes per hash: 32 MiB by default.
        public var logRounds: Int
        public var blockSize: Int
        public var parallelism: Int

        /// What a guess costs, as a number to compare.
        var cost: Int { blockSize * parallelism << logRounds }

        public init(logRounds: Int = 15, blockSize: Int = 8, parallelism: Int = 1) {
            self.logRounds = logRounds
            self.blockSize = blockSize
            self.parallelism = parallelism
        }
    }

    private static let saltBytes = 16
    private static let keyBytes = 32

    private let parameters: Parameters
    private let waitingMax: Int
    private let pool: NIOThreadPool
    private let waiting = NIOLockedValueBox(0)

    /// - Parameters:
    ///   - threads: hashes that are computed at the same time.
    ///   - waitingMax: hashes that may wait or run; more are refused with `overloaded`.
    public init(parameters: Parameters = Parameters(), threads: Int = 2, waitingMax: Int = 64) {
        self.parameters = parameters
        self.waitingMax = waitingMax
        pool = NIOThreadPool(numberOfThreads: threads)
        pool.start()
    }

    /// Ends the threads on graceful shutdown; hashes that wait then fail with `shutting_down`.
    public func run() async throws {
        try? await gracefulShutdown()
        try await shutdown()
    }

    public func shutdown() async throws { try await pool.shutdownGracefully() }

    public func hash(_ password: String) async throws -> String {
        let parameters = parameters
        return try await compute {
            let salt = SecureRandom.bytes(Self.saltBytes)
            return try Self.encode(parameters, salt: salt, key: Self.derive(password, salt, parameters))
        }
    }

    public func verify(_ password: String, against hash: String?) async throws -> Bool {
        let parameters = parameters
        let stored = try hash.map(Self.decode)
        return try await compute {
            let (parameters, salt) = stored.map { ($0.parameters, $0.salt) } ?? (parameters, [UInt8](repeating: 0, count: Self.saltBytes))
            let key = try Self.derive(password, salt, parameters)
            // Comparing symmetric keys takes the same time wherever they differ.
            return stored.map { SymmetricKey(data: $0.key) == key } ?? false
        }
    }

    public func isOutdated(_ hash: String) -> Bool {
        guard let stored = try? Self.decode(hash) else { return false }
        return stored.parameters.cost < parameters.cost
    }

    private func compute<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        let isFull = waiting.withLockedValue { count in
            guard count < waitingMax else { return true }
            count += 1
            return false
        }
        guard !isFull else {
            throw ApusError(.overloaded, "too many logins at this moment", retryAfterMilliseconds: 2000)
        }
        defer { waiting.withLockedValue { $0 -= 1 } }
        do {
            return try await pool.runIfActive {
                Self.yieldToOthers()
                return try work()
            }
        } catch is NIOThreadPoolError.ThreadPoolInactive {
            throw ApusError(.shuttingDown, "the server is shutting down")
        }
    }

    /// Lets event loops go first: on Linux, niceness is a thread's own.
    private static func yieldToOthers() {
        #if os(Linux)
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
        #endif
    }

    private static func derive(_ password: String, _ salt: [UInt8], _ parameters: Parameters) throws -> SymmetricKey {
        // The same password typed on another system may come with its accents composed differently (RFC 8265).
        let normalized = Array(password.precomposedStringWithCanonicalMapping.utf8)
        return try KDF.Scrypt.deriveKey(
            from: normalized, salt: salt, outputByteCount: keyBytes, rounds: 1 << parameters.logRounds,
            blockSize: parameters.blockSize, parallelism: parameters.parallelism)
    }

    // MARK: The string

    private struct Stored: Sendable {
        var parameters: Parameters
        var salt: [UInt8]
        var key: [UInt8]
    }

    private static func encode(_ parameters: Parameters, salt: [UInt8], key: SymmetricKey) -> String {
        func text(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString().replacingOccurrences(of: "=", with: "") }
        let key = key.withUnsafeBytes { [UInt8]($0) }
        let costs = "ln=\(parameters.logRounds),r=\(parameters.blockSize),p=\(parameters.parallelism)"
        return "$scrypt$\(costs)$\(text(salt))$\(text(key))"
    }

    private static func decode(_ hash: String) throws -> Stored {
        func bytes(_ text: Substring) -> [UInt8]? {
            Data(base64Encoded: text + String(repeating: "=", count: (4 - text.count % 4) % 4)).map { [UInt8]($0) }
        }
        func cost(_ text: Substring, _ name: String, in range: ClosedRange<Int>) -> Int? {
            guard text.hasPrefix("\(name)=") else { return nil }
            return Int(text.dropFirst(name.count + 1)).flatMap { range.contains($0) ? $0 : nil }
        }
        let parts = hash.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == "scrypt", let salt = bytes(parts[3]), let key = bytes(parts[4]),
            !key.isEmpty
        else { throw ApusError(.internal, "a stored password hash is not readable") }
        let costs = parts[2].split(separator: ",")
        guard costs.count == 3, let logRounds = cost(costs[0], "ln", in: 1...20), let blockSize = cost(costs[1], "r", in: 1...32),
            let parallelism = cost(costs[2], "p", in: 1...16)
        else { throw ApusError(.internal, "a stored password hash has unknown parameters") }
        return Stored(
            parameters: Parameters(logRounds: logRounds, blockSize: blockSize, parallelism: parallelism), salt: salt, key: key)
    }
}
