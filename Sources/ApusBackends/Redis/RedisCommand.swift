#if Cluster
import Crypto
import NIOCore

/// A Lua script, known to Redis by its digest.
public struct RedisScript: Sendable, Hashable {
    public let source: String
    /// SHA-1 in hexadecimal, as EVALSHA wants it.
    public let digest: String

    public init(_ source: String) {
        self.source = source
        let digits = Array("0123456789abcdef")
        digest = String(Insecure.SHA1.hash(data: Array(source.utf8)).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}

/// A command and how it may be handled.
public struct RedisCommand: Sendable, Hashable {
    public var arguments: [String]
    /// The key whose hash slot decides which node of a Redis Cluster gets it. Nil: any node.
    public var key: String?
    /// Whether it may be sent again when the connection was lost before its reply came.
    public var isIdempotent: Bool
    /// Sent by its source when Redis does not know the digest.
    var script: RedisScript?

    /// - Parameter key: defaults to the first argument after the name, where most commands have it.
    public init(_ name: String, _ arguments: String..., isIdempotent: Bool = false) {
        self.init([name] + arguments, key: arguments.first, isIdempotent: isIdempotent)
    }

    public init(_ arguments: [String], key: String?, isIdempotent: Bool = false) {
        self.arguments = arguments
        self.key = key
        self.isIdempotent = isIdempotent
    }

    /// EVALSHA. All keys have the same hash slot.
    public init(_ script: RedisScript, keys: [String], arguments: [String] = [], isIdempotent: Bool = false) {
        self.init(
            ["EVALSHA", script.digest, String(keys.count)] + keys + arguments, key: keys.first, isIdempotent: isIdempotent)
        self.script = script
    }

    /// The same with the script itself in place of its digest.
    var withSource: RedisCommand {
        guard let script else { return self }
        var command = self
        command.arguments.replaceSubrange(0...1, with: ["EVAL", script.source])
        command.script = nil
        return command
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeString("*\(arguments.count)\r\n")
        for argument in arguments { buffer.writeString("$\(argument.utf8.count)\r\n\(argument)\r\n") }
    }
}
#endif
